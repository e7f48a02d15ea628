//! The client side of the command line: calls the server at `--endpoint`, signed with SigV4.

mod credentials;

pub(crate) use credentials::Credentials;

use crate::config::Variables;
use anyhow::{Context as _, Result, anyhow, bail};
use http::header::{HOST, HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;
use weir_api::sigv4::{SignedRequest, Signer};
use weir_core::{Clock as _, Digest, SystemClock};

/// What a query keeps as it is; a space is `%20`, since AWS's APIs take `+` for itself.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the server is and with what it is asked: flags that all remote commands have.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Remote {
    /// The address of the server
    #[arg(
        long,
        value_name = "URL",
        env = "WEIR_ENDPOINT",
        default_value = "http://127.0.0.1:8090",
        help_heading = "Server"
    )]
    pub(crate) endpoint: String,
    /// Access key; else AWS_ACCESS_KEY_ID, the profile, or ./weir-data/credentials
    #[arg(long, value_name = "ID", requires = "secret_access_key", help_heading = "Server")]
    pub(crate) access_key_id: Option<String>,
    /// Secret of the access key; better as AWS_SECRET_ACCESS_KEY
    #[arg(
        long,
        value_name = "SECRET",
        requires = "access_key_id",
        hide_env_values = true,
        help_heading = "Server"
    )]
    pub(crate) secret_access_key: Option<String>,
    /// Profile of the AWS shared-credentials file
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub(crate) profile: Option<String>,
    /// A CA certificate to trust, besides the system's, AWS_CA_BUNDLE and ./weir-data/tls/ca.pem
    #[arg(long, value_name = "FILE", env = "WEIR_CA_FILE", help_heading = "Server")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// A server and the key to it.
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    credentials: Credentials,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body as text.
    pub(crate) text: String,
}

impl Remote {
    /// The client for these flags; reads keys where the first of them are found.
    pub(crate) fn client(&self, variables: &Variables) -> Result<Client> {
        let credentials = Credentials::find(self, variables)?;
        Ok(Client { http: self.http(variables)?, endpoint: self.url()?, credentials })
    }

    /// The address of the server, without a slash at its end.
    pub(crate) fn url(&self) -> Result<Url> {
        let url = Url::parse(self.endpoint.trim_end_matches('/')).ok();
        let usable = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        url.filter(usable).ok_or_else(|| {
            anyhow!("--endpoint: '{}' is not an address such as http://127.0.0.1:8090", self.endpoint)
        })
    }

    /// An HTTP client that trusts the system's CAs, and the one that is named.
    pub(crate) fn http(&self, variables: &Variables) -> Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(120));
        // A proxy for the outside is not the way to a server on this machine.
        if self.url()?.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
            builder = builder.no_proxy();
        }
        for path in self.authorities(variables) {
            let pem = fs_err::read(&path)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem);
            let certificates = certificates.with_context(|| format!("{} is not PEM", path.display()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        builder.build().context("HTTP cannot be set up")
    }

    /// CA files to trust besides the system's: those named, and the one in the data folder of this folder.
    pub(crate) fn authorities(&self, variables: &Variables) -> Vec<PathBuf> {
        if !self.endpoint.starts_with("https://") {
            return Vec::new();
        }
        let bundle = variables.get("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let local = Some(PathBuf::from("weir-data/tls/ca.pem")).filter(|path| path.exists());
        [self.ca_file.clone(), bundle, local].into_iter().flatten().collect()
    }
}

impl Client {
    /// Sends a signed request with a JSON body (`None` for none) and gives the answer, whatever it is.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("{}{path}", self.endpoint.path().trim_end_matches('/')));
        if !query.is_empty() {
            let encoded = |text| utf8_percent_encode(text, UNRESERVED);
            let pairs = query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
            url.set_query(Some(&pairs.collect::<Vec<_>>().join("&")));
        }
        let content = body.map(Value::to_string).unwrap_or_default();
        let content_type = body.map(|_| "application/json");
        self.exchange(method, url, "codeartifact", content, content_type).await
    }

    /// Sends STS GetCallerIdentity, which tells whose key this is.
    pub(crate) async fn caller_identity(&self) -> Result<Answer> {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("{}/", self.endpoint.path().trim_end_matches('/')));
        let content = "Action=GetCallerIdentity&Version=2011-06-15".to_owned();
        self.exchange("POST", url, "sts", content, Some("application/x-www-form-urlencoded")).await
    }

    async fn exchange(
        &self,
        method: &str,
        url: Url,
        service: &str,
        content: String,
        content_type: Option<&'static str>,
    ) -> Result<Answer> {
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host)?);
        if let Some(token) = &self.credentials.session_token {
            headers.insert("x-amz-security-token", HeaderValue::from_str(token)?);
        }
        let (path, query) = (url.path(), url.query().unwrap_or(""));
        let signer = Signer {
            access_key: &self.credentials.access_key_id,
            secret: &self.credentials.secret_access_key,
            region: &self.credentials.region,
            service,
        };
        let to_sign = SignedRequest { method, path, query, host: None, headers: &headers };
        let signed = signer.headers(&to_sign, SystemClock.now(), Digest::of(content.as_bytes()));
        headers.extend(signed.into_iter().filter_map(|(name, value)| {
            Some((http::HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
        }));
        if let Some(content_type) = content_type {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let method = http::Method::from_bytes(method.as_bytes())?;
        let request = self.http.request(method, url).headers(headers).body(content);
        let answer = request.send().await.map_err(|error| unreachable_server(&self.endpoint, &error))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.context("the answer broke off")?;
        Ok(Answer { status, headers, text })
    }

    /// Sends a signed request and gives the JSON of a success; a refusal becomes an error that says why.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value> {
        let answer = self.send(method, path, query, body).await?;
        if (200..300).contains(&answer.status) {
            if answer.text.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_str(&answer.text).context("the server's answer is not JSON");
        }
        bail!(self.refusal(&answer))
    }

    /// A refusal as a sentence that says what to do.
    pub(crate) fn refusal(&self, answer: &Answer) -> String {
        let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let message = body["message"].as_str().unwrap_or_else(|| answer.text.trim());
        let kind = answer.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()).unwrap_or("");
        let from = &self.credentials.source;
        let what_to_do = match kind {
            "UnrecognizedClientException" => format!(
                ". The access key comes from {from}; a key of this server is in its data folder (credentials), or \
                 made by 'weir key create'"
            ),
            "InvalidSignatureException" => {
                format!(
                    ". The secret comes from {from}; check it, and this machine's clock ('weir doctor' compares them)"
                )
            }
            "AccessDeniedException" => ". Ask an administrator of this server for the right".to_owned(),
            "" if answer.status == 404 => {
                format!(". Is {} a Weir server of this version?", self.endpoint)
            }
            _ => String::new(),
        };
        format!("{} ({}){what_to_do}", message.trim_end_matches('.'), answer.status)
    }

    /// The address of the server.
    pub(crate) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// The keys in use.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The HTTP client, for requests with a token.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }
}

/// Why the server was not reached, and what to do.
pub(crate) fn unreachable_server(endpoint: &Url, error: &reqwest::Error) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    if text.contains("certificate") || text.contains("UnknownIssuer") {
        return anyhow!(
            "the TLS certificate of {endpoint} is not trusted ({text}); name its CA with --ca-file, for \
             'weir serve --tls-self-signed' that is tls/ca.pem in the data folder"
        );
    }
    if error.is_timeout() {
        return anyhow!("{endpoint} did not answer in time");
    }
    anyhow!(
        "{endpoint} cannot be reached ({text}); is 'weir serve' running there? --endpoint names another address"
    )
}
