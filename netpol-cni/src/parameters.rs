//! The parameters in the environment.

use std::{env, fs, os::unix::fs::MetadataExt, path::PathBuf};

use crate::{
    error::{Code, Error},
    protocol::{Attachment, NetnsId},
};

/// The pod that the runtime calls for, from `CNI_ARGS`. These keys are a convention of container runtimes
/// (containerd, CRI-O and cri-dockerd give all of them).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PodName {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl PodName {
    pub(crate) fn from_environment() -> Result<Self, Error> {
        Self::parse(&env::var("CNI_ARGS").unwrap_or_default())
    }

    fn parse(args: &str) -> Result<Self, Error> {
        let value = |key: &str| {
            let pairs = args.split(';').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(k, _)| *k == key).map(|(_, v)| v.to_owned()).next_back().unwrap_or_default()
        };
        let (namespace, name) = (value("K8S_POD_NAMESPACE"), value("K8S_POD_NAME"));
        if namespace.is_empty() || name.is_empty() {
            let message = "CNI_ARGS has no K8S_POD_NAMESPACE and K8S_POD_NAME: which pod is this?";
            return Err(Error::new(Code::Environment, message));
        }
        Ok(Self { namespace, name, uid: value("K8S_POD_UID") })
    }
}

/// Which interface is meant.
pub(crate) fn attachment() -> Result<Attachment, Error> {
    let attachment = Attachment { container: needed("CNI_CONTAINERID")?, ifname: needed("CNI_IFNAME")? };
    match attachment.is_valid() {
        true => Ok(attachment),
        false => {
            let Attachment { container, ifname } = &attachment;
            let message = format!("CNI_CONTAINERID {container:?} or CNI_IFNAME {ifname:?} is no such name");
            Err(Error::new(Code::Environment, message))
        }
    }
}

/// The namespace behind the path of `CNI_NETNS`.
pub(crate) fn netns() -> Result<(PathBuf, NetnsId), Error> {
    let path = PathBuf::from(needed("CNI_NETNS")?);
    let file = fs::metadata(&path)
        .map_err(|error| Error::new(Code::Environment, format!("CNI_NETNS {}: {error}", path.display())))?;
    Ok((path, NetnsId { dev: file.dev(), ino: file.ino() }))
}

pub(crate) fn needed(key: &str) -> Result<String, Error> {
    let value = env::var(key).unwrap_or_default();
    match value.is_empty() {
        true => Err(Error::new(Code::Environment, format!("{key} is missing"))),
        false => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_is_named_by_the_runtimes_arguments() {
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u=1";
        let pod = PodName::parse(args).unwrap();
        assert_eq!((&*pod.namespace, &*pod.name, &*pod.uid), ("shop", "web", "u=1"));
        assert_eq!(PodName::parse("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web").unwrap().uid, "");
        for args in ["", "IgnoreUnknown=1", "K8S_POD_NAME=web", "K8S_POD_NAMESPACE=;K8S_POD_NAME=web"] {
            assert_eq!(PodName::parse(args).unwrap_err().code, Code::Environment, "{args:?}");
        }
    }
}
