//! A connection to the cluster of a kubeconfig, found as kubectl finds it.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Why there is no connection to the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "the kubeconfig cannot be used: {0}; check KUBECONFIG, --kubeconfig, --context, --cluster and --user"
    )]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a kubeconfig nor a pod's service account.
    #[error("no cluster is configured: {0}; set KUBECONFIG or give --kubeconfig")]
    Infer(#[from] kube::config::InferConfigError),
    /// The kubeconfig makes no client.
    #[error("the kubeconfig cannot be used: {0}")]
    Client(#[from] kube::Error),
}

/// The cluster and the user of it, as the flags of kubectl name them. What is absent is as the kubeconfig says.
#[derive(Clone, Debug, Default)]
pub struct ClusterAccess {
    /// A file in place of KUBECONFIG.
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    /// An entry of the kubeconfig in place of the context's cluster.
    pub cluster: Option<String>,
    /// An entry of the kubeconfig in place of the context's user.
    pub user: Option<String>,
    /// The user to impersonate, and the groups.
    pub impersonate: Option<String>,
    pub impersonate_groups: Vec<String>,
    /// How long the API server may keep silent; as long as it likes when absent.
    pub timeout: Option<Duration>,
}

/// A client for the cluster of a kubeconfig, and the namespace of its context.
pub async fn connect(access: &ClusterAccess) -> Result<(Client, String), ConnectError> {
    let config = config(access).await?;
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config)?, namespace))
}

async fn config(access: &ClusterAccess) -> Result<Config, ConnectError> {
    let ClusterAccess { context, cluster, user, .. } = access.clone();
    let says_nothing = context.is_none() && cluster.is_none() && user.is_none();
    let options = KubeConfigOptions { context, cluster, user };
    let mut config = match &access.kubeconfig {
        Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
        None if says_nothing => Config::infer().await?,
        None => Config::from_kubeconfig(&options).await?,
    };
    if let Some(impersonated) = &access.impersonate {
        // The kubeconfig's user may impersonate already. Nothing of that other user belongs to this one.
        let user = &mut config.auth_info;
        user.impersonate = Some(impersonated.clone());
        user.impersonate_groups = Some(access.impersonate_groups.clone());
        (user.impersonate_uid, user.impersonate_user_extra) = (None, None);
    }
    if let Some(timeout) = access.timeout {
        (config.connect_timeout, config.read_timeout) = (Some(timeout), Some(timeout));
        config.write_timeout = Some(timeout);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn flags_come_before_what_the_kubeconfig_says() {
        let user = |token: &str| json!({"token": token, "as": "someone", "as-groups": ["theirs"]});
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [
                {"name": "near", "cluster": {"server": "https://near.example"}},
                {"name": "far", "cluster": {"server": "https://far.example"}},
            ],
            "contexts": [
                {"name": "here", "context": {"cluster": "near", "user": "one", "namespace": "tenant-acme"}},
                {"name": "there", "context": {"cluster": "far", "user": "one"}},
            ],
            "users": [{"name": "one", "user": user("1")}, {"name": "two", "user": {"token": "2"}}],
        });
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(kubeconfig.to_string().as_bytes()).unwrap();
        let none = ClusterAccess { kubeconfig: Some(file.path().to_owned()), ..ClusterAccess::default() };
        let text = |text: &str| Some(text.to_owned());
        let someone = Some(("someone", vec!["theirs".to_owned()]));
        for (access, server, namespace, impersonated) in [
            (none.clone(), "near", "tenant-acme", someone.clone()),
            (ClusterAccess { context: text("there"), ..none.clone() }, "far", "default", someone.clone()),
            (ClusterAccess { cluster: text("far"), ..none.clone() }, "far", "tenant-acme", someone),
            (ClusterAccess { user: text("two"), ..none.clone() }, "near", "tenant-acme", None),
            (
                ClusterAccess { impersonate: text("ann"), ..none.clone() },
                "near",
                "tenant-acme",
                Some(("ann", Vec::new())),
            ),
            (
                ClusterAccess {
                    impersonate: text("ann"),
                    impersonate_groups: vec!["ours".to_owned()],
                    ..none.clone()
                },
                "near",
                "tenant-acme",
                Some(("ann", vec!["ours".to_owned()])),
            ),
        ] {
            let found = config(&access).await.unwrap();
            assert_eq!(found.cluster_url.host(), Some(&*format!("{server}.example")), "{access:?}");
            assert_eq!(found.default_namespace, namespace, "{access:?}");
            let user = found.auth_info.impersonate.as_deref();
            let seen =
                user.map(|user| (user, found.auth_info.impersonate_groups.clone().unwrap_or_default()));
            assert_eq!(seen, impersonated, "{access:?}");
            assert_eq!(found.read_timeout, None, "{access:?}");
        }
        let hurried = ClusterAccess { timeout: Some(Duration::from_secs(7)), ..none };
        assert_eq!(config(&hurried).await.unwrap().read_timeout, Some(Duration::from_secs(7)));
    }
}
