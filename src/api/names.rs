//! Names of Kubernetes objects. They become parts of URL paths at the API server, and kube does not escape them: nothing but
//! a name may pass.

/// Whether it is a valid object name (RFC 1123 subdomain).
pub fn is_object_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Whether it is a valid name of a namespace (RFC 1123 label).
pub fn is_namespace_name(text: &str) -> bool {
    text.len() <= 63 && is_label(text)
}

fn is_label(label: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    label.bytes().all(|b| alphanumeric(b) || b == b'-')
        && label.bytes().next().is_some_and(alphanumeric)
        && label.bytes().next_back().is_some_and(alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_changes_a_url_is_a_name() {
        let long = "a".repeat(64);
        for (text, object, namespace) in [
            ("acme", true, true),
            ("calls-2", true, true),
            ("acme.calls", true, false),
            (long.as_str(), true, false),
            ("", false, false),
            (".", false, false),
            ("..", false, false),
            ("a/b", false, false),
            ("a?watch=true", false, false),
            ("x/recordingdestinations?watch=true&timeoutSeconds=300&x=", false, false),
            ("a%2fb", false, false),
            ("a#b", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("Acme", false, false),
            ("a\nb", false, false),
            ("ä", false, false),
        ] {
            assert_eq!((is_object_name(text), is_namespace_name(text)), (object, namespace), "{text:?}");
        }
    }
}
