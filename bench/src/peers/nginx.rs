//! nginx twice: with the fixture as plain files, as fast as it can be set up, and as a caching proxy in
//! front of that, which is the limit for a server that fetches.

use super::Place;
use super::process::Process;
use crate::fixture::{CROWD, free_port};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use weir_testkit::Tool;

/// In nginx's folder: how long each answer with the file of [`CROWD`] took, in seconds, and its bytes.
pub(crate) const CROWD_LOG: &str = "crowd.log";
/// Bytes a second of that file, so that it is on its way for a while.
const CROWD_RATE: &str = "40m";

/// Serves the fixture.
pub(super) async fn serve(place: &Place<'_>, folder: &Path) -> Result<Process> {
    let port = place.fixture.manifest.port;
    let root = absolute(&place.fixture.folder())?;
    let server = format!(
        r#"
  map $http_accept $packument {{ default full.json; ~application/vnd\.npm\.install-v1\+json abbreviated.json; }}
  map $http_accept $page {{ default index.html; ~application/vnd\.pypi\.simple\.v1\+json index.json; }}
  log_format crowd "$request_time $body_bytes_sent";
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    root {root};
    gzip_static on; gzip_vary on;
    location /npm/ {{
      default_type application/json; add_header Vary Accept; add_header Cache-Control "public, max-age=300";
      try_files $uri/$packument =404;
    }}
    location ~ ^/npm/.*\.tgz$ {{ gzip_static off; add_header Cache-Control "public, immutable, max-age=31557600"; }}
    location ^~ /npm/{CROWD}/-/ {{ gzip_static off; limit_rate {CROWD_RATE}; access_log {log} crowd; }}
    location /pypi/simple/ {{
      types {{ application/vnd.pypi.simple.v1+json json; text/html html; }}
      charset off; add_header Vary Accept; add_header Cache-Control "max-age=600, public";
      try_files ${{uri}}$page ${{uri}}/$page =404;
    }}
    location /pypi/files/ {{ gzip_static off; add_header Cache-Control "max-age=365000000, immutable, public"; }}
  }}"#,
        root = root.display(),
        log = absolute(folder)?.join(CROWD_LOG).display(),
    );
    run(folder, &server, port).await
}

/// A caching proxy of it, and its address.
pub(super) async fn proxy(place: &Place<'_>, folder: &Path) -> Result<(Process, String)> {
    let (port, behind) = (free_port()?, place.fixture.manifest.port);
    let cache = absolute(folder)?.join("cache");
    let server = format!(
        r#"
  proxy_cache_path {cache} levels=1:2 keys_zone=fixture:20m max_size=8g inactive=1d use_temp_path=off;
  upstream fixture {{ server 127.0.0.1:{behind}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    location / {{
      proxy_pass http://fixture; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Accept-Encoding $http_accept_encoding;
      proxy_cache fixture; proxy_cache_key $uri$http_accept$http_accept_encoding;
      proxy_cache_valid 200 1h; proxy_cache_lock on; proxy_ignore_headers Vary;
    }}
  }}"#,
        cache = cache.display(),
    );
    Ok((run(folder, &server, port).await?, format!("http://127.0.0.1:{port}")))
}

async fn run(folder: &Path, server: &str, port: u16) -> Result<Process> {
    let folder = absolute(folder)?;
    let at = folder.display();
    // Workers that root starts would be another user's, who cannot read below root's home.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let configuration = format!(
        r#"daemon off; master_process on; worker_processes 2; worker_rlimit_nofile 20000;
{user}pid {at}/pid; error_log {at}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; server_tokens off;
  keepalive_timeout 65s; keepalive_requests 1000000;
  open_file_cache max=20000 inactive=60s; open_file_cache_valid 30s; open_file_cache_errors on;
  types {{ }} default_type application/octet-stream;
  client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
{server}
}}
"#
    );
    let file = folder.join("nginx.conf");
    fs_err::write(&file, configuration)?;
    let program = Tool::Nginx.find().context("nginx is not on this machine")?;
    let mut nginx = Command::new(program);
    nginx.arg("-c").arg(&file);
    Process::start(nginx, &folder, port).await
}

fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(fs_err::canonicalize(path)?)
}
