use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::report::Report;
use crate::model::Mode;

/// The annotation of policies and namespaces that says what becomes of what policy denies.
const MODE: &str = "netpol.dev/mode";

/// What the annotation says; `None` if it is not there. What cannot be read is no reason to let anything pass.
pub(super) fn mode(meta: &ObjectMeta, report: &mut Report<'_>) -> Option<Mode> {
    match meta.annotations.as_ref()?.get(MODE)?.as_str() {
        "enforce" => Some(Mode::Enforce),
        "audit" => Some(Mode::Audit),
        other => {
            let message = format!("{other:?} is neither enforce nor audit; policy is enforced");
            report.error(format!("metadata.annotations[{MODE}]"), message);
            Some(Mode::Enforce)
        }
    }
}
