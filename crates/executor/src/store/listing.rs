//! Looks at every answer to a listing before the library reads it: to the library any document is a listing, one without
//! entries if need be, so that the login page of a proxy would make an empty repository.

use futures::{TryStreamExt as _, future::BoxFuture};
use object_store::{
    ClientOptions,
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector},
};

/// Most bytes of one page of a listing; the storages send at most 5,000 entries at a time.
const MOST_LISTED: usize = 64 << 20;

/// Makes the clients of the library, and puts the look between.
#[derive(Debug, Default)]
pub(super) struct Checking;

#[derive(Debug)]
struct Checked(HttpClient);

/// The answer to a listing is something else.
#[derive(Debug, thiserror::Error)]
#[error("what came is no listing, but begins with {0:?}: check the storage's address, and whether a proxy answers in its place")]
struct NoListing(String);

impl HttpConnector for Checking {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Checked(ReqwestConnector::default().connect(options)?)))
    }
}

impl HttpService for Checked {
    fn call<'me, 'answer>(&'me self, request: HttpRequest) -> BoxFuture<'answer, Result<HttpResponse, HttpError>>
    where
        'me: 'answer,
        Self: 'answer,
    {
        Box::pin(async move {
            let lists = request.uri().query().is_some_and(asks_for_a_listing);
            let answer = self.0.execute(request).await?;
            if !lists || !answer.status().is_success() {
                return Ok(answer);
            }
            let (head, body) = answer.into_parts();
            let mut parts = body.bytes_stream();
            let mut text = Vec::new();
            while let Some(part) = parts.try_next().await? {
                text.extend_from_slice(&part);
                if text.len() > MOST_LISTED {
                    break;
                }
            }
            if is_a_listing(&text) {
                return Ok(HttpResponse::from_parts(head, text.into()));
            }
            let beginning = String::from_utf8_lossy(&text).chars().take(60).collect();
            Err(HttpError::new(HttpErrorKind::Decode, NoListing(beginning)))
        })
    }
}

/// S3 and Google; Azure.
fn asks_for_a_listing(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "list-type=2" | "comp=list"))
}

/// The one element that a listing is, from beginning to end.
fn is_a_listing(text: &[u8]) -> bool {
    let beginning = String::from_utf8_lossy(&text[..text.len().min(1024)]);
    let end = text.trim_ascii_end();
    ["ListBucketResult", "EnumerationResults"]
        .iter()
        .any(|name| beginning.contains(&format!("<{name}")) && end.ends_with(format!("</{name}>").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_listing_is_one() {
        for (text, expected) in [
            ("<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"><Name>b</Name></ListBucketResult>\n", true),
            ("<?xml version=\"1.0\"?><EnumerationResults A=\"b\"><Blobs /></EnumerationResults>", true),
            ("<ListBucketResult><Name>b</Name>", false),
            ("<html><body>Please log in</body></html>", false),
            ("<Error><Code>InternalError</Code></Error>", false),
            ("{}", false),
            ("", false),
        ] {
            assert_eq!(is_a_listing(text.as_bytes()), expected, "{text}");
        }
        for (query, expected) in
            [("list-type=2&prefix=a%2F", true), ("restype=container&comp=list", true), ("versionid=list-type", false), ("", false)]
        {
            assert_eq!(asks_for_a_listing(query), expected, "{query}");
        }
    }
}
