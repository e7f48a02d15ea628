//! TLS of the listener: a local authority that npm, the AWS CLI and `weir` trust, and certificate files that
//! are read again when they change.

use crate::running::{builder, weir};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use weir_testkit::{Client, NpmPackage, Upstream, Weir};

/// For a client that asks servers of this machine.
pub(crate) fn client() -> reqwest::ClientBuilder {
    let installed = rustls::crypto::ring::default_provider().install_default();
    // Another test of this process was first.
    drop(installed);
    reqwest::Client::builder().no_proxy()
}

/// Asks a server for `/healthz`, trusting this CA alone; `Err` is why it was not asked.
async fn health(address: &str, authority: &Path) -> Result<u16, String> {
    let pem = fs_err::read(authority).expect("the CA is there");
    let authorities = reqwest::Certificate::from_pem_bundle(&pem).expect("the CA is PEM");
    let client = client().tls_certs_only(authorities).build().expect("a client can be made");
    let answer = client.get(format!("{address}/healthz")).send().await;
    answer.map(|answer| answer.status().as_u16()).map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn npm_and_the_aws_cli_trust_the_local_authority() {
    let upstream = Upstream::start().await;
    let package = NpmPackage::new("left-pad", "1.3.0");
    upstream.publish(&package);
    let server = builder().npmjs(&upstream.url()).argument("--tls-self-signed").start().await;
    let authority = server.data().join("tls/ca.pem");
    let path = authority.display().to_string();
    assert!(server.url().starts_with("https://"), "{}", server.url());
    assert!(server.log().contains(&path), "the log tells what to trust:\n{}", server.log());
    let mut secrets = 0;
    for file in fs_err::read_dir(server.data().join("tls")).expect("it was made") {
        let file = file.expect("it can be read");
        if fs_err::read_to_string(file.path()).unwrap_or_default().contains("PRIVATE KEY") {
            let mode = file.metadata().expect("it is there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", file.path());
            secrets += 1;
        }
    }
    assert!(secrets > 0, "the authority's key is kept");
    for host in ["127.0.0.1", "localhost"] {
        let address = server.url().replace("127.0.0.1", host);
        assert_eq!(health(&address, &authority).await, Ok(200), "{host}");
    }

    let untrusting = server.cli(&["connections"]).await;
    untrusting.assert_fails().assert_says("is not trusted").assert_says("--ca-file");
    let connections = server.cli(&["connections", "--ca-file", &path]).await;
    connections.assert_ok().assert_says(&upstream.url());

    if let Some(aws) = server.aws_cli() {
        let once = aws.clone().env("AWS_MAX_ATTEMPTS", "1");
        let refused = once.run(&["codeartifact", "list-domains"]).await;
        refused.assert_fails().assert_says("CERTIFICATE_VERIFY_FAILED");
        let domains = aws.clone().env("AWS_CA_BUNDLE", &path).ok(&["list-domains"]).await;
        assert_eq!(domains["domains"][0]["name"], "local");
    }
    if let Some(mut npm) = Client::npm11() {
        let npmrc = npm.home().join(".npmrc").display().to_string();
        let login = ["login", "npm", "--npmrc", &npmrc, "--ca-file", &path];
        server.cli(&login).await.assert_ok();
        npm.write_manifest(&[("left-pad", "1.3.0")]);
        npm.env("npm_config_fetch_retries", "0");
        npm.run(&["install", "--no-audit"]).await.assert_fails();
        npm.env("npm_config_cafile", &path);
        npm.run(&["install", "--no-audit"]).await.assert_ok();
        assert_eq!(npm.installed("left-pad").as_deref(), Some("1.3.0"));
        let lock = npm.read("package-lock.json").unwrap_or_default();
        assert!(lock.contains(&format!("{}/npm/", server.url())), "addresses are https: {lock}");
        let own = NpmPackage::new("widget", "1.0.0").scope("acme");
        own.write_source(&npm.project().join("widget"));
        npm.run_in(&npm.project().join("widget"), &["publish"]).await.assert_ok();
    }

    let kept = fs_err::read(&authority).expect("it was made");
    let server = server.restart().await;
    assert_eq!(fs_err::read(&authority).expect("it is there"), kept, "the authority is made once");
    assert_eq!(health(server.url(), &authority).await, Ok(200));
    assert_eq!(server.stop().await, Some(0));
}

/// Writes a certificate for 127.0.0.1 and its key, signed by a new CA that is written to `authority`.
fn write_certificate(authority: &Path, certificate: &Path, key: &Path) {
    let name = |text: &str, hosts: &[&str]| {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut parameters = CertificateParams::new(hosts).expect("the names are valid");
        parameters.distinguished_name.push(DnType::CommonName, text);
        parameters
    };
    let mut parameters = name("test authority", &[]);
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key can be made");
    let signed = parameters.self_signed(&authority_key).expect("a CA can be made");
    let issuer = Issuer::new(parameters, authority_key);
    let own_key = KeyPair::generate().expect("a key can be made");
    let own = name("weir", &["127.0.0.1"]).signed_by(&own_key, &issuer).expect("it can be signed");
    for (path, pem) in [(authority, signed.pem()), (certificate, own.pem()), (key, own_key.serialize_pem())] {
        fs_err::write(path, pem).expect("a temporary folder can be written");
    }
}

async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !check().await {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn certificate_files_are_read_again_when_they_change_and_a_broken_one_is_not_used() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = |name: &str| folder.path().join(name);
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let (first, second) = (path("first.pem"), path("second.pem"));
    write_certificate(&first, &certificate, &key);
    let (cert_flag, key_flag) = (certificate.display().to_string(), key.display().to_string());
    let server = builder().flag("--tls-cert", &cert_flag).flag("--tls-key", &key_flag).start().await;
    assert_eq!(health(server.url(), &first).await, Ok(200));

    fs_err::write(&certificate, "-----BEGIN NOTHING-----\n").expect("a temporary folder can be written");
    until("the complaint", async || server.log().contains("the one before stays")).await;
    assert_eq!(health(server.url(), &first).await, Ok(200));

    write_certificate(&second, &certificate, &key);
    until("the new certificate", async || health(server.url(), &second).await == Ok(200)).await;
    let refused = health(server.url(), &first).await.expect_err("the first CA did not sign this one");
    assert!(refused.contains("UnknownIssuer") || refused.contains("BadSignature"), "{refused}");

    let other = path("other.pem");
    write_certificate(&path("x.pem"), &path("y.pem"), &other);
    let mismatch = builder().flag("--tls-cert", &cert_flag).flag("--tls-key", &other.display().to_string());
    mismatch.start_refused().await.assert_says("do not go together");
    let absent =
        builder().flag("--tls-cert", &cert_flag).flag("--tls-key", "absent.pem").start_refused().await;
    absent.assert_says("tls-key").assert_says("absent.pem");
    let one = weir(folder.path(), &[], &["config", "--tls-cert", "cert.pem"]).await;
    assert_eq!(one.assert_says("belong together").code, Some(2));
    assert_eq!(server.stop().await, Some(0));
}

#[tokio::test]
async fn a_handshake_that_never_comes_does_not_delay_the_stop_and_plain_http_is_told() {
    let server: Weir = builder().argument("--tls-self-signed").start().await;
    let _silent = TcpStream::connect(server.authority()).await.expect("it listens");
    let plain = server.url().replace("https:", "http:");
    assert!(weir_testkit::http::try_send("GET", &plain, &[], Vec::new()).await.is_err());
    let began = Instant::now();
    assert_eq!(server.stop().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
}
