//! The requests of `object_store`, carried by ureq.
//!
//! They block, and each runs on a thread that has nothing else to do ([`super::objects`]).

use std::io::Read;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, BodyReader};

/// Bytes taken from a connection at a time.
const BLOCK: usize = 1 << 18;

/// How long a server may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until it is connected.
    pub(crate) connect: Duration,
    /// Between two blocks, and until an answer begins.
    pub(crate) silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(30),
        }
    }
}

/// Makes clients of ureq.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carrier {
    pub(crate) patience: Patience,
    /// Redirections to follow. A signed request is for one host and follows none.
    pub(crate) redirects: u32,
}

impl HttpConnector for Carrier {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // AWS_ALLOW_HTTP and the like: credentials do not travel in the clear by mistake.
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        let allows_http = allowed.is_some_and(|v| v.eq_ignore_ascii_case("true") || v == "1");
        let Patience { connect, silence } = self.patience;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!allows_http)
            .max_redirects(self.redirects)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence))
            .timeout_recv_response(Some(silence))
            .user_agent(concat!("clcc-flow/", env!("CARGO_PKG_VERSION")));
        if let Some(roots) = own_roots() {
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(HttpClient::new(Carried(config.build().into())))
    }
}

/// Certificate authorities of the laboratory, where the environment names a file of them.
fn own_roots() -> Option<RootCerts> {
    let named = ["AWS_CA_BUNDLE", "SSL_CERT_FILE"];
    let file = named
        .iter()
        .find_map(|name| std::env::var_os(name).filter(|v| !v.is_empty()))?;
    let pem = std::fs::read(file).ok()?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    (!certificates.is_empty()).then(|| RootCerts::new_with_certs(&certificates))
}

#[derive(Debug)]
struct Carried(Agent);

#[async_trait::async_trait]
impl HttpService for Carried {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let takes_body = matches!(parts.method.as_str(), "PUT" | "POST" | "PATCH");
        let answer = match takes_body || !body.is_empty() {
            true => self
                .0
                .run(ureq::http::Request::from_parts(parts, whole(body))),
            false => self.0.run(ureq::http::Request::from_parts(parts, ())),
        };
        let (parts, body) = answer.map_err(http_error)?.into_parts();
        let reading = Reading(Mutex::new(body.into_reader()));
        Ok(HttpResponse::from_parts(
            parts,
            HttpResponseBody::new(reading),
        ))
    }
}

/// The bytes of a request; they are there already.
fn whole(mut body: HttpRequestBody) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.content_length());
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    bytes
}

/// The body of an answer, read as it is asked for. The mutex makes it shareable and is never contended.
struct Reading(Mutex<BodyReader<'static>>);

impl Body for Reading {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let reader = self.get_mut().0.get_mut();
        let reader = reader.unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut block = vec![0; BLOCK];
        Poll::Ready(match reader.read(&mut block) {
            Ok(0) => None,
            Ok(n) => {
                block.truncate(n);
                Some(Ok(Frame::data(Bytes::from(block))))
            }
            Err(e) => Some(Err(http_error(ureq::Error::from(e)))),
        })
    }
}

/// Which errors are worth another try is decided by their kind.
fn http_error(e: ureq::Error) -> HttpError {
    use std::io::ErrorKind as K;
    let kind = match &e {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::Io(io) => match io.kind() {
            K::ConnectionRefused => HttpErrorKind::Connect,
            K::TimedOut | K::WouldBlock => HttpErrorKind::Timeout,
            K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof => {
                HttpErrorKind::Interrupted
            }
            _ => HttpErrorKind::Unknown,
        },
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, e)
}
