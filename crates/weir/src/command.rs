//! What the commands do: those that open the store, and those that ask a server.

mod connections;
mod copying;
mod doctor;
mod explain;
mod export;
mod gc;
mod identity;
mod import;
mod ini;
mod login;
mod npmrc;
mod output;
mod publish;
mod token;
mod toml_lines;
mod verify;
mod yank;

use crate::cli::{Cli, Command, KeyCommand, Migrate, Serve, ShowConfig};
use crate::config::{self, Config, ConfigError, SettingFlags, StoreFlags, Values, Variables};
use crate::{app, telemetry};
use anyhow::{Context as _, Result};
use output::{Out, print};
use serde_json::json;
use std::process::ExitCode;
use weir_store::Store;

/// Runs one command; `Err` is a sentence for a person.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    let variables = config::variables();
    let out = match cli.command {
        Command::Serve(arguments) => {
            serve(arguments, &variables).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Doctor(arguments) => return doctor::run(arguments, &variables).await,
        Command::Export(arguments) => return export::run(arguments, &variables).await,
        Command::Import(arguments) => return import::run(arguments, &variables).await,
        Command::Publish(arguments) => return publish::run(arguments, &variables).await,
        Command::Gc(arguments) => return gc::run(arguments, &variables).await,
        Command::Verify(arguments) => return verify::run(arguments, &variables).await,
        Command::Config(arguments) => show_config(arguments, &variables)?,
        Command::Migrate(arguments) => migrate(arguments, &variables).await?,
        Command::Explain(arguments) => explain::run(arguments, &variables).await?,
        Command::Yank(arguments) => yank::run(arguments, &variables).await?,
        Command::Connections(arguments) => connections::run(arguments, &variables).await?,
        Command::User(arguments) => identity::user(arguments.command, &variables).await?,
        Command::Key(arguments) => match arguments.command {
            KeyCommand::Create { user, offline: true, json, settings, .. } => {
                create_key_offline(user, json, *settings, &variables).await?
            }
            command => identity::key(command, &variables).await?,
        },
        Command::Token(arguments) => token::run(arguments.command, &variables).await?,
        Command::Login(arguments) => login::run(arguments.tool, &variables).await?,
    };
    print(&out);
    Ok(ExitCode::SUCCESS)
}

fn values(settings: &SettingFlags, variables: &Variables) -> Result<Values, ConfigError> {
    let known = crate::formats::connection_names();
    Values::read(&settings.flags, variables, settings.file.as_deref(), &known)
}

async fn serve(arguments: Serve, variables: &Variables) -> Result<()> {
    let values = values(&arguments.settings, variables)?;
    let config = Config::build(&values)?;
    telemetry::start_logging(&config)?;
    for warning in &values.warnings {
        tracing::warn!("{warning}");
    }
    app::serve(config).await
}

fn show_config(arguments: ShowConfig, variables: &Variables) -> Result<Out> {
    let values = values(&arguments.settings, variables)?;
    // What would stop the server stops this too, so that a pipeline can check a file.
    Config::build(&values)?;
    for warning in &values.warnings {
        eprintln!("weir: {warning}");
    }
    Ok(Out::new(arguments.json, || config::shown_json(&values), || config::shown(&values)))
}

fn store_config(StoreFlags(settings): &StoreFlags, variables: &Variables) -> Result<Config> {
    let config = Config::build(&values(settings, variables)?)?;
    telemetry::start_logging(&config)?;
    Ok(config)
}

async fn migrate(arguments: Migrate, variables: &Variables) -> Result<Out> {
    let config = store_config(&arguments.settings, variables)?;
    let database = config.places.database.to_string();
    app::must_have_data(&config)?;
    let pending = Store::pending_migrations(&config.places.database).await;
    let pending = pending.with_context(|| format!("cannot look at the database {database}"))?;
    if arguments.dry_run {
        return Ok(Out::new(
            arguments.json,
            || json!({ "database": database, "pending": pending }),
            || listed(&database, "would be changed by", &pending),
        ));
    }
    let registry = app::open_alone(&config, "weir migrate").await?;
    registry.store().close().await;
    Ok(Out::new(
        arguments.json,
        || json!({ "database": database, "state": "up to date", "applied": pending }),
        || listed(&database, "was changed by", &pending),
    ))
}

fn listed(database: &str, verb: &str, migrations: &[&str]) -> String {
    if migrations.is_empty() {
        return format!("{database} is up to date\n");
    }
    let lines: String = migrations.iter().map(|name| format!("  {name}\n")).collect();
    format!("{database} {verb}\n{lines}")
}

async fn create_key_offline(
    user: Option<String>,
    as_json: bool,
    settings: StoreFlags,
    variables: &Variables,
) -> Result<Out> {
    let config = store_config(&settings, variables)?;
    let registry = app::open_alone(&config, "weir key create").await?;
    let key = match &user {
        Some(user) => registry.create_key_offline(&config.account, user).await?,
        None => registry.bootstrap_administrator(&config.account).await?,
    };
    registry.store().close().await;
    let region = &config.registry.region;
    Ok(identity::issued(as_json, &key.access_key_id, &key.secret_access_key, region, user.as_deref()))
}
