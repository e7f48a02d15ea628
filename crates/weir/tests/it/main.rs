//! The started server, asked by real package managers, the AWS CLI and boto3, and by requests no client would
//! send. Each test has a server of its own; see `weir-testkit`.

mod aws_cli;
mod aws_guide;
mod aws_pages;
mod aws_session;
mod aws_versions;
mod doors;
mod downloads;
mod generic;
mod hostile_requests;
mod hostile_tarballs;
mod npm_commands;
mod npm_install;
mod npm_publish;
mod npm_wire;
mod npm_world;
mod pypi_aws;
mod pypi_follow;
mod pypi_hostile;
mod pypi_index;
mod pypi_install;
mod pypi_promises;
mod pypi_publish;
mod pypi_wire;
mod pypi_world;
mod running;
mod running_commands;
mod running_connections;
mod running_telling;
mod running_tls;
mod signing;
mod stored;
mod terraform_shapes;
mod upstream_faults;
mod upstream_outage;
