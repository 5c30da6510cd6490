//! What the server asks the running agent.

use std::{future::Future, sync::Arc};

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::api::{
    Checked, EndpointView, ExplainRequest, Explanation, PolicyView, ServiceView, SimulateRequest, Simulated,
    Status, SuggestRequest, Suggested,
};
use crate::{
    ctl::{ExplainError, PastError},
    diagnose::{Finding, Subject},
    flow::FlowStore,
    model::Name,
};

/// The running agent, as the control socket and the page see it. Every call is one look; nothing here changes anything.
pub trait State: Send + Sync + 'static {
    /// The name of its node.
    fn node(&self) -> &str;
    /// How it is doing. Asks the source whether it has something new before it says that it is in sync.
    fn status(&self) -> impl Future<Output = Status> + Send;
    /// The pods of this node, and interfaces without a pod.
    fn endpoints(&self) -> Vec<EndpointView>;
    /// The policies.
    fn policies(&self) -> Vec<PolicyView>;
    /// A policy as the source has it, or had it if it was deleted and is in force all the same.
    fn policy(&self, name: &Name) -> Option<NetworkPolicy>;
    /// The Services.
    fn services(&self) -> Vec<ServiceView>;
    /// The metrics, as OpenMetrics text.
    fn metrics(&self) -> String;
    /// What is wrong with this node and with what it knows of.
    fn check(&self) -> impl Future<Output = Checked> + Send;
    /// Why an object does not work; `None` if there is none.
    fn why(&self, subject: &Subject) -> Option<Vec<Finding>>;
    /// What a connection would meet.
    ///
    /// # Errors
    /// If it is not clear what is asked, or about whom.
    fn explain(&self, request: &ExplainRequest) -> Result<Explanation, ExplainError>;
    /// What was seen, judged under other policies. May read files.
    ///
    /// # Errors
    /// If the policies cannot be read, or are not there.
    fn simulate(&self, request: &SimulateRequest) -> Result<Simulated, PastError>;
    /// Policies that allow what was seen. May read files.
    ///
    /// # Errors
    /// If nothing was seen.
    fn suggest(&self, request: &SuggestRequest) -> Result<Suggested, PastError>;
    /// The flow records.
    fn flows(&self) -> &Arc<FlowStore>;
}
