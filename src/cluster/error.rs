//! A call to the API server that failed: which call, on which object, and what came back.

use std::error::Error as _;

/// A call to the API server failed.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {object} failed: {}", came_back(source))]
pub struct CallError {
    verb: &'static str,
    object: String,
    source: kube::Error,
}

/// What a call to the API server comes to.
pub type Result<T> = std::result::Result<T, CallError>;

impl CallError {
    /// A call of that verb, such as `get`, on an object of a namespace.
    pub fn on(verb: &'static str, kind: &str, namespace: &str, name: &str, source: kube::Error) -> Self {
        CallError { verb, object: format!("{kind} {namespace}/{name}"), source }
    }

    /// Whether the API server answered, with an object that cannot be decoded.
    pub fn is_undecodable(&self) -> bool {
        matches!(self.source, kube::Error::SerdeError(_))
    }

    /// Whether the object was changed by somebody else meanwhile.
    pub fn is_conflict(&self) -> bool {
        matches!(&self.source, kube::Error::Api(status) if status.code == 409)
    }

    /// A call on an object that is in no namespace.
    pub fn cluster_wide(verb: &'static str, kind: &str, name: &str, source: kube::Error) -> Self {
        CallError { verb, object: format!("{kind} {name}").trim_end().to_owned(), source }
    }
}

/// The API server's status, or how the connection failed: the text of kube's error leaves one of them out.
pub(super) fn came_back(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("HTTP {} {}: {}", status.code, status.reason, status.message);
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn an_error_names_the_call_the_object_and_the_status() {
        let forbidden =
            kube::Error::Api(Box::new(Status::failure("no right to it", "Forbidden").with_code(403)));
        let refused = CallError::on("get", "secret", "tenant-acme", "acme", forbidden);
        assert_eq!(
            refused.to_string(),
            "get secret tenant-acme/acme failed: HTTP 403 Forbidden: no right to it"
        );
        let cut_off = kube::Error::Service("connection refused".into());
        let unreachable = CallError::cluster_wide("create", "tokenreview", "", cut_off);
        assert_eq!(unreachable.to_string(), "create tokenreview failed: ServiceError: connection refused");
    }
}
