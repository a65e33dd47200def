//! An S3 that speaks HTTP, for uploaders that run as processes of their own. It checks checksums and conditions as S3
//! does, lists nothing, and has for each bucket a plan of what goes wrong.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;

use crate::api::Crc64Nvme;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused.
    Refused(u16, &'static str),
    /// The connection ends before it is looked at.
    Reset,
    /// It is carried out, and the connection ends without an answer.
    AnswerLost,
    /// It is carried out, and the answer comes to an end in its middle.
    AnswerCut,
    /// A page that is not S3's, with this status.
    Page(u16),
    /// Carried out, but with another checksum in the answer.
    WrongChecksum,
    /// Nothing is done and nothing is answered, for longer than anybody waits.
    Hang,
}

/// One bucket.
#[derive(Debug, Default)]
pub struct Bucket {
    pub objects: BTreeMap<String, Vec<u8>>,
    pub uploads: BTreeMap<String, BTreeMap<i32, Bytes>>,
    /// By the number of the request, from 0.
    pub plan: BTreeMap<usize, Fault>,
    /// Requests so far.
    pub requests: Vec<String>,
    /// Bytes of parts that came.
    pub part_bytes: usize,
    begun: usize,
}

/// All buckets, by name; each is there when it is asked for.
pub type Buckets = Arc<Mutex<HashMap<String, Bucket>>>;

/// Serves on a thread of its own for as long as the process runs.
pub fn serve() -> (SocketAddr, Buckets) {
    let buckets = Buckets::default();
    let (serving, listener) = (buckets.clone(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let buckets = serving.clone();
                let service = service_fn(move |request| answer(buckets.clone(), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
    });
    (address, buckets)
}

type Answer = Response<Full<Bytes>>;

async fn answer(buckets: Buckets, request: Request<hyper::body::Incoming>) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let (bucket, key) = head.uri.path()[1..].split_once('/').unwrap();
    let query: HashMap<String, String> = head
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // The body of a request whose sender was killed never ends.
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let fault = {
        let mut buckets = buckets.lock().unwrap();
        let bucket = buckets.entry(bucket.to_owned()).or_default();
        let fault = bucket.plan.remove(&bucket.requests.len());
        bucket.requests.push(format!("{} {key}?{}", head.method, head.uri.query().unwrap_or_default()));
        fault
    };
    match fault {
        Some(Fault::Reset) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::Hang) => tokio::time::sleep(Duration::from_secs(3600)).await,
        Some(Fault::Refused(status, code)) => return Ok(refused(status, code)),
        Some(Fault::Page(status)) => {
            let page = Bytes::from_static(b"<html><body>Welcome to the proxy</body></html>");
            return Ok(Response::builder()
                .status(status)
                .header("content-type", "text/html")
                .body(Full::new(page))
                .unwrap());
        }
        _ => {}
    }
    let answer = {
        let mut buckets = buckets.lock().unwrap();
        carry_out(buckets.get_mut(bucket).unwrap(), &head.method, key, &query, &head.headers, body)
    };
    match fault {
        Some(Fault::AnswerLost) => Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::WrongChecksum) if answer.status() == 200 => {
            let wrong = Crc64Nvme(1).to_string();
            let (mut head, body) = answer.into_parts();
            head.headers.insert("x-amz-checksum-crc64nvme", wrong.parse().unwrap());
            let text = body.collect().await.unwrap_or_else(|never: Infallible| match never {}).to_bytes();
            let text = String::from_utf8_lossy(&text).into_owned();
            let text = match text.split_once("<ChecksumCRC64NVME>") {
                Some((before, after)) => {
                    let after = after.split_once('<').unwrap().1;
                    format!("{before}<ChecksumCRC64NVME>{wrong}<{after}")
                }
                None => text,
            };
            head.headers.remove("content-length");
            Ok(Response::from_parts(head, Full::new(text.into())))
        }
        Some(Fault::AnswerCut) => {
            // Promises more than it sends.
            let (mut head, body) = answer.into_parts();
            let text = body.collect().await.unwrap_or_else(|never: Infallible| match never {}).to_bytes();
            head.headers.remove("etag");
            let half = text.slice(..text.len() / 2);
            Ok(Response::from_parts(head, Full::new(half)))
        }
        _ => Ok(answer),
    }
}

fn carry_out(
    bucket: &mut Bucket,
    method: &Method,
    key: &str,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    body: Bytes,
) -> Answer {
    let checksum =
        headers.get("x-amz-checksum-crc64nvme").and_then(|value| value.to_str().ok()?.parse().ok());
    let upload_id = query.get("uploadId");
    let number = query.get("partNumber").and_then(|number| number.parse::<i32>().ok());
    let damaged = || checksum.is_some_and(|checksum: Crc64Nvme| checksum != Crc64Nvme::of(&body));
    match (method.as_str(), upload_id, number) {
        ("PUT", None, None) if damaged() => refused(400, "BadDigest"),
        ("PUT", None, None) if headers.get("if-none-match").is_none() => refused(400, "NotConditional"),
        ("PUT", None, None) if bucket.objects.contains_key(key) => refused(412, "PreconditionFailed"),
        ("PUT", None, None) => {
            let checksum = Crc64Nvme::of(&body);
            bucket.objects.insert(key.to_owned(), body.to_vec());
            with_checksum(checksum, "")
        }
        ("POST", None, _) => {
            bucket.begun += 1;
            let upload_id = format!("upload-{}", bucket.begun);
            bucket.uploads.insert(upload_id.clone(), BTreeMap::new());
            let inner = format!("<UploadId>{upload_id}</UploadId>");
            text(200, &format!("<InitiateMultipartUploadResult>{inner}</InitiateMultipartUploadResult>"))
        }
        ("PUT", Some(_), Some(_)) if damaged() => refused(400, "BadDigest"),
        ("PUT", Some(upload_id), Some(number)) => {
            let checksum = Crc64Nvme::of(&body);
            bucket.part_bytes += body.len();
            let Some(parts) = bucket.uploads.get_mut(upload_id) else { return refused(404, "NoSuchUpload") };
            parts.insert(number, body);
            with_checksum(checksum, "")
        }
        ("POST", Some(upload_id), _) => complete(bucket, key, upload_id, checksum, headers, &body),
        ("DELETE", Some(upload_id), _) => match bucket.uploads.remove(upload_id) {
            Some(_) => text(204, ""),
            None => refused(404, "NoSuchUpload"),
        },
        ("HEAD" | "GET", ..) => match bucket.objects.get(key) {
            Some(object) => {
                let content = if method == Method::GET { object.clone() } else { Vec::new() };
                Response::builder()
                    .header("etag", "\"etag\"")
                    .header("x-amz-checksum-crc64nvme", Crc64Nvme::of(object).to_string())
                    .header("content-length", object.len())
                    .body(Full::new(content.into()))
                    .unwrap()
            }
            None => text(403, ""),
        },
        _ => refused(400, "NotImplemented"),
    }
}

fn complete(
    bucket: &mut Bucket,
    key: &str,
    upload_id: &str,
    checksum: Option<Crc64Nvme>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Answer {
    let Some(parts) = bucket.uploads.get(upload_id) else { return refused(404, "NoSuchUpload") };
    if headers.get("if-none-match").is_none() {
        return refused(400, "NotConditional");
    }
    if bucket.objects.contains_key(key) {
        return refused(412, "PreconditionFailed");
    }
    let request = String::from_utf8_lossy(body);
    let mut object = Vec::new();
    for part in request.split("<Part>").skip(1) {
        let value = |name: &str| {
            let (_, rest) = part.split_once(&format!("<{name}>"))?;
            Some(rest.split_once('<')?.0.to_owned())
        };
        let held = value("PartNumber").and_then(|number| parts.get(&number.parse().ok()?));
        match (held, value("ChecksumCRC64NVME")) {
            (Some(held), Some(checksum)) if Crc64Nvme::of(held).to_string() == checksum => {
                object.extend_from_slice(held);
            }
            _ => return refused(400, "InvalidPart"),
        }
    }
    let whole = Crc64Nvme::of(&object);
    if checksum.is_some_and(|checksum| checksum != whole) {
        return refused(400, "BadDigest");
    }
    bucket.objects.insert(key.to_owned(), object);
    bucket.uploads.remove(upload_id);
    let inner = format!(
        "<ETag>\"etag\"</ETag><ChecksumCRC64NVME>{whole}</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType>"
    );
    text(200, &format!("<CompleteMultipartUploadResult>{inner}</CompleteMultipartUploadResult>"))
}

fn refused(status: u16, code: &str) -> Answer {
    text(
        status,
        &format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>no</Message></Error>"
        ),
    )
}

fn with_checksum(checksum: Crc64Nvme, content: &str) -> Answer {
    let mut answer = text(200, content);
    answer.headers_mut().insert("etag", "\"etag\"".parse().unwrap());
    answer.headers_mut().insert("x-amz-checksum-crc64nvme", checksum.to_string().parse().unwrap());
    answer
}

fn text(status: u16, content: &str) -> Answer {
    Response::builder().status(status).body(Full::new(Bytes::copy_from_slice(content.as_bytes()))).unwrap()
}
