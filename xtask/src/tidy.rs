//! What the compiler does not check: who may import whom, marks of unfinished work, file headers, public
//! registries' addresses, and settings without documentation. Also runs as a test.

mod layering;
mod settings;
mod sources;

use anyhow::{Result, ensure};
use std::path::Path;

/// Runs every check and prints what is wrong.
pub(crate) fn run(root: &Path) -> Result<()> {
    let problems = problems(root)?;
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    ensure!(problems.is_empty(), "{} things are not tidy", problems.len());
    eprintln!("tidy: all is well");
    Ok(())
}

fn problems(root: &Path) -> Result<Vec<String>> {
    let files = sources::tracked(root)?;
    let mut problems = layering::check(root)?;
    problems.extend(sources::marks(&files));
    problems.extend(sources::headers(&files));
    problems.extend(sources::addresses(&files));
    problems.extend(settings::check(&files));
    Ok(problems)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        let problems = super::problems(&crate::root()).unwrap();
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }
}
