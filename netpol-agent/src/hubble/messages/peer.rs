use prost::{Enumeration, Message};

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ChangeNotification {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(enumeration = "ChangeNotificationType", tag = "3")]
    pub r#type: i32,
    #[prost(message, optional, tag = "4")]
    pub tls: Option<PeerTls>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PeerTls {
    #[prost(string, tag = "1")]
    pub server_name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum ChangeNotificationType {
    Unknown = 0,
    PeerAdded = 1,
    PeerDeleted = 2,
    PeerUpdated = 3,
}
