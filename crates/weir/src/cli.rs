//! The command line: what there is to type. What it does is in `command`.

use crate::client::Remote;
use crate::config::{SettingFlags, StoreFlags};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A package registry that speaks AWS CodeArtifact's API
///
/// Start with `weir serve`; on an empty data folder it says what to type next.
#[derive(Debug, Parser)]
#[command(name = "weir", version, disable_help_subcommand = true, after_help = "Documentation: docs/cli.md")]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    #[command(after_help = "Example:\n  weir serve --data /var/lib/weir --listen 0.0.0.0:8090")]
    Serve(Serve),
    /// Show the effective settings and where each came from
    #[command(after_help = "Example:\n  WEIR_REGION=eu-west-1 weir config --config weir.toml --json")]
    Config(ShowConfig),
    /// Bring the database up to date without starting the server
    #[command(after_help = "Example:\n  weir migrate --data /var/lib/weir\n  weir migrate --dry-run --json")]
    Migrate(Migrate),
    /// Write everything into a folder: a backup, or the way to another database or blob store
    #[command(
        after_help = "Example:\n  weir export /backup/weir --data /var/lib/weir\n  weir export /backup/weir --database-url postgres://weir@db.example.com/weir --blob-url s3://packages\n\nThe folder holds what the database and the blob store hold, without the master key unless --with-keys. A repeated\nexport into the same folder copies only what is new; one that was cut goes on."
    )]
    Export(Export),
    /// Bring an export into an empty database and blob store of any kind
    #[command(
        after_help = "Example:\n  weir import /backup/weir --data /var/lib/weir\n  weir import /backup/weir --database-url postgres://weir@db.example.com/weir --blob-url s3://packages\n\nAll is verified on the way. An import that was cut goes on when it is run again; until it is finished no server\nstarts on the database."
    )]
    Import(Import),
    /// Check a server from outside: address, keys, clock, repositories, public registries, .npmrc, pip.conf
    #[command(after_help = "Example:\n  weir doctor --endpoint https://packages.example.com")]
    Doctor(Doctor),
    /// Say why a repository offers a package or a version, or does not
    #[command(after_help = "Example:\n  weir explain npm left-pad@1.3.0 --repository main")]
    Explain(Explain),
    /// Warn off a published version without taking it away (PEP 592)
    #[command(after_help = "Example:\n  weir yank pypi widget@1.2.0 --reason \"loses data\"")]
    Yank(Yank),
    /// External connections: where the public registries are
    #[command(
        after_help = "Example:\n  weir connections\n  weir connections set public:npmjs https://mirror.example.com/npm/"
    )]
    Connections(Connections),
    /// Users and roles
    #[command(after_help = "Example:\n  weir user create alice --policy publish")]
    User(User),
    /// Access keys, for the AWS CLI and the other commands
    #[command(after_help = "Example:\n  weir key create --user alice")]
    Key(Key),
    /// Tokens, for package managers and robots
    #[command(
        after_help = "Example:\n  weir token create --user ci --read-only --repository main --expires 90d"
    )]
    Token(Token),
    /// Set a package manager up for a repository
    #[command(after_help = "Example:\n  weir login npm --domain local --repository main")]
    Login(Login),
    /// Publish all packages of a folder: npm tarballs (*.tgz), wheels (*.whl), sdists (*.tar.gz, *.zip)
    #[command(after_help = "Example:\n  weir publish ./dist --repository main")]
    Publish(Publish),
    /// Erase what no version has any more: files, uploads that were cut off, old index documents
    #[command(after_help = "Example:\n  weir gc --dry-run")]
    Gc(Gc),
    /// Read every stored file again, and fetch again what is damaged
    #[command(after_help = "Example:\n  weir verify --domain local")]
    Verify(Verify),
}

/// `weir serve`
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The settings
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
}

/// `weir config`
#[derive(Debug, Args)]
pub(crate) struct ShowConfig {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The settings
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
}

/// `weir migrate`
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The settings
    #[command(flatten)]
    pub(crate) settings: StoreFlags,
}

/// `weir export`
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The folder; made if it is missing, for its owner only
    pub(crate) folder: PathBuf,
    /// Also write the master key, which opens all secrets of the export
    #[arg(long)]
    pub(crate) with_keys: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The settings
    #[command(flatten)]
    pub(crate) settings: StoreFlags,
}

/// `weir import`
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The folder of the export
    pub(crate) folder: PathBuf,
    /// Go on without files that the export should hold and does not, or that are damaged
    #[arg(long)]
    pub(crate) skip_damaged: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The settings
    #[command(flatten)]
    pub(crate) settings: StoreFlags,
}

/// A repository.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The domain
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub(crate) domain: String,
    /// The account that owns the domain; your own when left out
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) domain_owner: Option<String>,
    /// The repository
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub(crate) repository: String,
}

/// `weir doctor`
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The repository to look at
    #[command(flatten)]
    pub(crate) place: Place,
    /// The .npmrc to look at; ~/.npmrc when left out
    #[arg(long, value_name = "FILE")]
    pub(crate) npmrc: Option<PathBuf>,
    /// The pip.conf to look at; PIP_CONFIG_FILE or ~/.config/pip/pip.conf when left out
    #[arg(long, value_name = "FILE")]
    pub(crate) pip_conf: Option<PathBuf>,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `weir explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The format, such as npm
    pub(crate) format: String,
    /// The package, with @VERSION for one version: left-pad@1.3.0, @scope/name
    #[arg(value_name = "PACKAGE[@VERSION]")]
    pub(crate) package: String,
    /// Where it is asked
    #[command(flatten)]
    pub(crate) place: Place,
    /// Ask on behalf of this user (ARN or name)
    #[arg(long, value_name = "USER")]
    pub(crate) principal: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `weir yank`
#[derive(Debug, Args)]
pub(crate) struct Yank {
    /// The format, such as pypi
    pub(crate) format: String,
    /// The version: widget@1.2.0
    #[arg(value_name = "PACKAGE@VERSION")]
    pub(crate) package: String,
    /// Why; installers print it
    #[arg(long, value_name = "TEXT", conflicts_with = "undo")]
    pub(crate) reason: Option<String>,
    /// Take the yank back
    #[arg(long)]
    pub(crate) undo: bool,
    /// Where it was published
    #[command(flatten)]
    pub(crate) place: Place,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `weir connections`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Connections {
    /// What to do; lists them when left out
    #[command(subcommand)]
    pub(crate) command: Option<ConnectionCommand>,
    /// For the list
    #[command(flatten)]
    pub(crate) list: ListConnections,
}

/// For the list of connections.
#[derive(Debug, Args)]
pub(crate) struct ListConnections {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What to do with connections.
#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionCommand {
    /// Show address, source, health and age of each
    #[command(after_help = "Example:\n  weir connections list --json")]
    List(ListConnections),
    /// Store the address of a connection, for all nodes
    #[command(
        after_help = "Example:\n  weir connections set public:npmjs https://mirror.example.com/npm/ --token-file token.txt"
    )]
    Set(Box<SetConnection>),
    /// Forget the stored or discovered address
    #[command(after_help = "Example:\n  weir connections delete public:npmjs")]
    Delete(NamedConnection),
    /// Ask the package manager of the server's machine again
    #[command(after_help = "Example:\n  weir connections rediscover public:npmjs")]
    Rediscover(NamedConnection),
    /// Forget the first-seen digests of a package, after its registry changed a file
    #[command(after_help = "Example:\n  weir connections unpin public:npmjs left-pad --domain local")]
    Unpin(Unpin),
}

/// `weir connections set`
#[derive(Debug, Args)]
pub(crate) struct SetConnection {
    /// The connection, such as public:npmjs
    pub(crate) name: String,
    /// The address a package manager would be set up with
    pub(crate) url: String,
    /// The format, of a connection with a name of your own
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// User name for the registry
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// File with a bearer token
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// A header to send, NAME=VALUE; repeats
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) header: Vec<String>,
    /// A private host files may come from, scheme://host:port; repeats
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allowed_host: Vec<String>,
    /// A CA certificate (a file on the server's machine)
    #[arg(long, value_name = "FILE")]
    pub(crate) registry_ca_file: Option<PathBuf>,
    /// An HTTP proxy to go through
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// One connection.
#[derive(Debug, Args)]
pub(crate) struct NamedConnection {
    /// The connection, such as public:npmjs
    pub(crate) name: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `weir connections unpin`
#[derive(Debug, Args)]
pub(crate) struct Unpin {
    /// The connection, such as public:npmjs
    pub(crate) name: String,
    /// The package as its format writes it
    pub(crate) package: String,
    /// The domain
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub(crate) domain: String,
    /// The account that owns the domain; your own when left out
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) domain_owner: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `weir user`
#[derive(Debug, Args)]
pub(crate) struct User {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: UserCommand,
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make a user
    #[command(after_help = "Example:\n  weir user create ci --policy read")]
    Create {
        /// Its name
        name: String,
        /// What it may do: admin, publish, read, or a file with a policy document
        #[arg(long, value_name = "POLICY")]
        policy: String,
        /// Make a role instead
        #[arg(long)]
        role: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The server
        #[command(flatten)]
        remote: Remote,
    },
    /// List users and roles
    #[command(after_help = "Example:\n  weir user list")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The server
        #[command(flatten)]
        remote: Remote,
    },
    /// Delete a user with its keys and tokens
    #[command(after_help = "Example:\n  weir user delete ci")]
    Delete {
        /// Its name
        name: String,
        /// The server
        #[command(flatten)]
        remote: Remote,
    },
}

/// `weir key`
#[derive(Debug, Args)]
pub(crate) struct Key {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

/// What to do with access keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make an access key; its secret is printed this once
    #[command(
        after_help = "Example:\n  weir key create --user alice >> ~/.aws/credentials\n  weir key create --offline --data /var/lib/weir"
    )]
    Create {
        /// Whose it is to be; your own when left out (with --offline the administrator's)
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Open the data folder instead of asking the server, which must be stopped
        #[arg(long)]
        offline: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// For --offline
        #[command(flatten)]
        settings: Box<StoreFlags>,
        /// The server
        #[command(flatten)]
        remote: Remote,
    },
    /// List access keys
    #[command(after_help = "Example:\n  weir key list --user alice")]
    List {
        /// Only of this user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The server
        #[command(flatten)]
        remote: Remote,
    },
    /// Delete an access key
    #[command(after_help = "Example:\n  weir key delete AKIAEXAMPLE")]
    Delete {
        /// Its identifier
        id: String,
        /// The server
        #[command(flatten)]
        remote: Remote,
    },
}

/// `weir token`
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; it is printed this once
    #[command(
        after_help = "Example:\n  weir token create --user ci --read-only --repository main --expires 90d"
    )]
    Create(Box<CreateToken>),
    /// List tokens
    #[command(after_help = "Example:\n  weir token list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The server
        #[command(flatten)]
        remote: Remote,
    },
    /// Revoke a token
    #[command(after_help = "Example:\n  weir token delete 0193a5c2-0000-7000-8000-000000000000")]
    Delete {
        /// Its identifier, as the list shows it
        id: String,
        /// The server
        #[command(flatten)]
        remote: Remote,
    },
}

/// `weir token create`
#[derive(Debug, Args)]
pub(crate) struct CreateToken {
    /// The domain it is for
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub(crate) domain: String,
    /// The account that owns the domain; your own when left out
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) domain_owner: Option<String>,
    /// Whose it is to be; your own when left out
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) description: String,
    /// Only for this repository; repeats
    #[arg(long, value_name = "NAME")]
    pub(crate) repository: Vec<String>,
    /// Only for this format; repeats
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Vec<String>,
    /// Only for reading
    #[arg(long)]
    pub(crate) read_only: bool,
    /// How long it lives, such as 12h or 90d; for ever when left out
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `weir login`
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The package manager
    #[command(subcommand)]
    pub(crate) tool: LoginTool,
}

/// Package managers that can be set up.
#[derive(Debug, Subcommand)]
pub(crate) enum LoginTool {
    /// npm, pnpm, yarn and bun: writes .npmrc
    #[command(after_help = "Example:\n  weir login npm --domain local --repository main --scope @acme")]
    Npm(LoginNpm),
    /// pip: writes pip.conf
    #[command(after_help = "Example:\n  weir login pip --domain local --repository main")]
    Pip(LoginPip),
    /// uv, for installing and 'uv publish --index weir': writes uv.toml
    #[command(after_help = "Example:\n  weir login uv --domain local --repository main")]
    Uv(LoginUv),
    /// Poetry, for installing and 'poetry publish -r weir': writes auth.toml and config.toml
    #[command(after_help = "Example:\n  weir login poetry --domain local --repository main")]
    Poetry(LoginPoetry),
    /// twine, for 'twine upload -r weir': writes .pypirc
    #[command(after_help = "Example:\n  weir login twine --domain local --repository main --name work")]
    Twine(LoginTwine),
}

/// What every login is told.
#[derive(Debug, Args)]
pub(crate) struct LoginCommon {
    /// The repository
    #[command(flatten)]
    pub(crate) place: Place,
    /// Seconds the token lives: 900 to 43200
    #[arg(long, value_name = "SECONDS")]
    pub(crate) duration: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `weir login npm`
#[derive(Debug, Args)]
pub(crate) struct LoginNpm {
    /// Where, and for how long
    #[command(flatten)]
    pub(crate) common: LoginCommon,
    /// Use the repository for packages of this scope only
    #[arg(long, value_name = "@SCOPE")]
    pub(crate) scope: Option<String>,
    /// The file to write; ~/.npmrc when left out
    #[arg(long, value_name = "FILE")]
    pub(crate) npmrc: Option<PathBuf>,
    /// Also write always-auth, which yarn 1 needs and npm 11 warns of
    #[arg(long)]
    pub(crate) yarn1: bool,
}

/// `weir login pip`
#[derive(Debug, Args)]
pub(crate) struct LoginPip {
    /// Where, and for how long
    #[command(flatten)]
    pub(crate) common: LoginCommon,
    /// The file to write; PIP_CONFIG_FILE or ~/.config/pip/pip.conf when left out
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// `weir login uv`
#[derive(Debug, Args)]
pub(crate) struct LoginUv {
    /// Where, and for how long
    #[command(flatten)]
    pub(crate) common: LoginCommon,
    /// The file to write; UV_CONFIG_FILE or ~/.config/uv/uv.toml when left out
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// `weir login poetry`
#[derive(Debug, Args)]
pub(crate) struct LoginPoetry {
    /// Where, and for how long
    #[command(flatten)]
    pub(crate) common: LoginCommon,
    /// What Poetry shall call the repository
    #[arg(long, value_name = "NAME", default_value = "weir")]
    pub(crate) name: String,
    /// The folder of the files to write; POETRY_CONFIG_DIR or ~/.config/pypoetry when left out
    #[arg(long, value_name = "FOLDER")]
    pub(crate) config_dir: Option<PathBuf>,
}

/// `weir login twine`
#[derive(Debug, Args)]
pub(crate) struct LoginTwine {
    /// Where, and for how long
    #[command(flatten)]
    pub(crate) common: LoginCommon,
    /// The section to write, which 'twine upload -r' names
    #[arg(long, value_name = "NAME", default_value = "weir")]
    pub(crate) name: String,
    /// The file to write; ~/.pypirc when left out
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// `weir publish`
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The folder; folders below it are read too
    pub(crate) folder: PathBuf,
    /// The repository
    #[command(flatten)]
    pub(crate) place: Place,
    /// npm: the tag of the published versions; 'latest' goes to the highest of each package when left out
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `weir gc`
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Change nothing and tell what would be erased
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long a file must be without a version, such as 12h; the server's gc-grace when left out
    #[arg(long, value_name = "DURATION")]
    pub(crate) grace: Option<String>,
    /// Start nothing and show how far the collection is, or how the last one ended
    #[arg(long, conflicts_with_all = ["dry_run", "grace"])]
    pub(crate) status: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `weir verify`
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Fetch again what came from a public registry
    #[arg(long)]
    pub(crate) repair: bool,
    /// Only this domain
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: Option<String>,
    /// The account that owns the domain; your own when left out
    #[arg(long, value_name = "ACCOUNT", requires = "domain")]
    pub(crate) domain_owner: Option<String>,
    /// Start nothing and show how far the verification is, or how the last one ended
    #[arg(long, conflicts_with_all = ["repair", "domain"])]
    pub(crate) status: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The server
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_an_example() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        fn walk(command: &clap::Command) {
            for below in command.get_subcommands() {
                let help = below.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(
                    help.contains("Example:\n  weir") || help.contains("WEIR_") || below.has_subcommands(),
                    "{}",
                    below.get_name()
                );
                assert!(below.get_about().is_some(), "{}", below.get_name());
                walk(below);
            }
        }
        walk(&command);
    }

    #[test]
    fn the_documentation_names_every_command() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
        let text = fs_err::read_to_string(path).unwrap();
        fn walk(prefix: &str, command: &clap::Command, text: &str) {
            for below in command.get_subcommands() {
                let name = format!("{prefix} {}", below.get_name());
                assert!(text.contains(&name), "docs/cli.md does not name '{name}'");
                walk(&name, below, text);
            }
        }
        walk("weir", &Cli::command(), &text);
    }

    #[test]
    fn connections_without_a_command_is_the_list() {
        let cli = Cli::parse_from(["weir", "connections", "--json"]);
        assert!(
            matches!(cli.command, Command::Connections(Connections { command: None, list }) if list.json)
        );
        let cli = Cli::parse_from(["weir", "connections", "delete", "public:npmjs"]);
        assert!(matches!(
            cli.command,
            Command::Connections(Connections { command: Some(ConnectionCommand::Delete(_)), .. })
        ));
    }
}
