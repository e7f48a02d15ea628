//! Asks the package managers of this machine where the public registries are (`weir.md` section 2).

use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use weir_core::{Error, Result};
use weir_registry::upstream::Discover;

/// How long a package manager may take to print one line.
const LIMIT: Duration = Duration::from_secs(10);
/// More output than any address.
const MOST_BYTES: u64 = 16 << 10;

/// Runs discovery commands in a folder of its own.
pub(crate) struct Discovery {
    /// Where no project's configuration lies (`.npmrc`, `pip.conf`); made when missing.
    folder: PathBuf,
}

impl Discovery {
    /// Commands run in `folder`, away from whatever folder the server was started in.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    async fn run(&self, command: &[&str]) -> Result<Vec<String>> {
        // Of a script handed over as an argument its first line tells enough.
        let line = command.join(" ").lines().next().unwrap_or_default().to_owned();
        let failed = |what: String| Error::unavailable(format!("'{line}' {what}"));
        let Some((tool, arguments)) = command.split_first() else {
            return Err(Error::unavailable("no package manager can be asked for this address"));
        };
        fs_err::create_dir_all(&self.folder).map_err(|error| failed(format!("could not be run: {error}")))?;
        let mut command = Command::new(tool);
        command.args(arguments).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        // A package manager that started Weir hands its own settings down as variables.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("npm_package_")
                || text.starts_with("npm_lifecycle_")
                || text.starts_with("WEIR_")
            {
                command.env_remove(&name);
            }
        }
        command.env("CI", "1").env("NO_COLOR", "1").env("NO_UPDATE_NOTIFIER", "1");
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                failed(format!("could not be run: {tool} is not installed on this machine"))
            }
            _ => failed(format!("could not be run: {error}")),
        })?;
        let stdout = child.stdout.take().ok_or_else(|| failed("gave no output".to_owned()))?;
        let ended = tokio::time::timeout(LIMIT, async {
            let mut output = Vec::new();
            stdout.take(MOST_BYTES).read_to_end(&mut output).await?;
            Ok::<_, std::io::Error>((child.wait().await?, output))
        });
        let (status, output) = ended
            .await
            .map_err(|_| failed(format!("did not answer within {} s", LIMIT.as_secs())))?
            .map_err(|error| failed(format!("failed: {error}")))?;
        if !status.success() {
            return Err(failed(format!("failed ({status})")));
        }
        let output = String::from_utf8_lossy(&output);
        let lines: Vec<String> =
            output.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        match lines.first().map(String::as_str) {
            Some("undefined" | "null") | None => Err(failed("printed no address".to_owned())),
            Some(_) => Ok(lines),
        }
    }
}

impl Discover for Discovery {
    fn discover<'a>(&'a self, command: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(self.run(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(command: &[&str]) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        Discovery::new(folder.path().join("discovery")).discover(command).await
    }

    #[tokio::test]
    async fn the_lines_printed_are_addresses() {
        let answer =
            ask(&["sh", "-c", "echo; echo '  http://mirror.example.test/ '; echo more"]).await.unwrap();
        assert_eq!(answer, ["http://mirror.example.test/", "more"]);
    }

    #[tokio::test]
    async fn a_missing_tool_is_named() {
        let text = ask(&["weir-no-such-tool", "config"]).await.unwrap_err().to_string();
        assert!(text.contains("weir-no-such-tool is not installed"), "{text}");
    }

    #[tokio::test]
    async fn a_failure_and_an_empty_answer_are_told() {
        assert!(ask(&["sh", "-c", "exit 3"]).await.unwrap_err().to_string().contains("failed"));
        assert!(
            ask(&["sh", "-c", "echo undefined"])
                .await
                .unwrap_err()
                .to_string()
                .contains("printed no address")
        );
        assert!(ask(&[]).await.is_err());
    }
}
