//! One call of an endpoint: what it works on, and how it fails.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ApiAnswer, ApiRequest};
use crate::world::{Asker, Guest, Kind, MachineId, Node, Refusal, Time, Token, World, mix};

/// How a call fails.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    /// 500 with a text.
    Text(String),
    /// 400 with what is wrong by parameter.
    Parameters(Map<String, Value>),
    /// 403 with a path and the privileges of which one is missing.
    Denied(String, String),
    /// 501.
    NotImplemented {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// A status of something in between, without a body.
    Gateway(u16, String),
}

impl Failure {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Makes the failure of one parameter.
    pub fn parameter(name: &str, why: &str) -> Self {
        Self::Parameters(Map::from_iter([(name.to_owned(), why.into())]))
    }

    /// Makes the answer: the text stands in the reason phrase and in `message`.
    pub fn answer(self, delay_ms: u64) -> ApiAnswer {
        let said = |status: u16, reason: String, newline: &str, errors: Option<Map<String, Value>>| {
            let mut body = json!({ "data": null, "message": format!("{reason}{newline}") });
            if let Some(errors) = errors {
                body["errors"] = errors.into();
            }
            ApiAnswer { status, reason, body: Some(body), lost: false, delay_ms }
        };
        match self {
            Self::Text(text) => said(500, text, "\n", None),
            Self::Parameters(errors) => said(400, "Parameter verification failed.".to_owned(), "\n", Some(errors)),
            Self::Denied(path, privs) => said(403, format!("Permission check failed ({path}, {privs})"), "\n", None),
            Self::NotImplemented { method, path } => {
                said(501, format!("Method '{method} {path}' not implemented"), "", None)
            }
            Self::Gateway(status, reason) => ApiAnswer::empty(status, &reason, delay_ms),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Text(refusal.0)
    }
}

/// A call of an endpoint.
pub(crate) struct Call<'a> {
    /// The world.
    pub world: &'a mut World,
    /// The request.
    pub request: &'a ApiRequest,
    /// Whose it is.
    pub token: Token,
    /// What the path says, unchecked.
    pub in_path: BTreeMap<String, String>,
    /// What was given, checked.
    pub params: BTreeMap<String, Value>,
    /// How many entries there are in all, where a list says so.
    pub total: Option<usize>,
    /// How long the answer takes.
    pub delay_ms: u64,
}

impl<'a> Call<'a> {
    pub fn new(world: &'a mut World, request: &'a ApiRequest, token: Token) -> Self {
        Self { world, request, token, in_path: BTreeMap::new(), params: BTreeMap::new(), total: None, delay_ms: 0 }
    }

    /// Returns a parameter as text, empty where it was not given.
    pub fn text(&self, name: &str) -> &str {
        self.params.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns an optional parameter as text.
    pub fn opt(&self, name: &str) -> Option<&str> {
        self.params.get(name).and_then(Value::as_str)
    }

    /// Returns an optional parameter as a whole number.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.params.get(name).and_then(Value::as_i64)
    }

    /// Returns an optional parameter as a number that counts something.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.params.get(name).and_then(Value::as_u64)
    }

    /// Returns an optional flag.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.params.get(name).and_then(Value::as_bool)
    }

    pub fn asker(&self) -> Asker {
        Asker::token(&self.token)
    }

    pub fn now(&self) -> Time {
        self.world.now()
    }

    /// Returns the realm that was addressed.
    pub fn realm(&self) -> Result<&crate::world::Realm, Failure> {
        self.world.realm_of(&self.request.node).ok_or_else(|| Failure::text("no such realm"))
    }

    /// Returns the node of the path.
    pub fn node(&self) -> Result<&Node, Failure> {
        let name = self.text("node");
        self.world.nodes.get(name).ok_or_else(|| Failure::text(format!("no such node '{name}'")))
    }

    /// Returns the kind of guest that the path names.
    pub fn kind(&self) -> Kind {
        if self.request.segments().get(2).is_some_and(|s| s == "lxc") { Kind::Ct } else { Kind::Vm }
    }

    /// Returns the guest of the path, which must be of that kind and on that node.
    pub fn guest(&self) -> Result<&Guest, Failure> {
        let (node, kind) = (self.text("node"), self.kind());
        let vmid = self.int("vmid").unwrap_or_default();
        let guest = u32::try_from(vmid).ok().and_then(|vmid| self.world.guest_of(node, vmid));
        let dir = if kind == Kind::Ct { "lxc" } else { "qemu-server" };
        guest
            .filter(|g| g.node == node && g.kind == kind)
            .ok_or_else(|| Failure::text(format!("Configuration file 'nodes/{node}/{dir}/{vmid}.conf' does not exist")))
    }

    /// Returns the identity of the guest of the path.
    pub fn guest_id(&self) -> Result<MachineId, Failure> {
        let vmid = self.guest()?.vmid;
        Ok(MachineId::guest(&self.realm()?.name, vmid))
    }

    /// Puts a list into an order that nobody may rely on, as the real API does.
    pub fn shuffled(&self, list: Vec<Value>) -> Value {
        let key = |v: &Value| v.to_string().bytes().fold(self.now() / 1000, |h, b| mix(h ^ u64::from(b)));
        let mut keyed: Vec<(u64, Value)> = list
            .into_iter()
            .map(|v| {
                let name = ["id", "vmid", "node", "storage", "name", "Package", "volid"].iter().find_map(|k| v.get(k));
                (key(name.unwrap_or(&v)), v)
            })
            .collect();
        keyed.sort_by_key(|(key, _)| *key);
        keyed.into_iter().map(|(_, v)| v).collect()
    }
}
