//! The API's transport on the world: the real client speaks, the world answers.

use std::sync::Arc;

use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proxmaint::adapters::pve::transport::{Answer, ApiCall, Method, Transport, TransportFault};
use proxmaint_lab::api::ApiRequest;
use proxmaint_lab::world::MachineId;
use serde_json::Value;

use crate::gate::{Gate, Point};
use crate::stage::Theatre;

/// How long a request is on its way, and its answer.
const TRAVEL_MS: u64 = 3;

/// Carries calls to a node's API.
pub struct SimTransport {
    theatre: Theatre,
    gate: Arc<Gate>,
    node: String,
}

impl SimTransport {
    /// Makes the way of one incarnation to a node.
    pub fn new(theatre: Theatre, gate: Arc<Gate>, node: &str) -> Self {
        Self { theatre, gate, node: node.to_owned() }
    }

    fn request(&self, call: &ApiCall, authorization: Option<String>) -> ApiRequest {
        let mut request = ApiRequest::new(&self.node, call.method.name(), &call.path);
        request.authorization = authorization;
        match call.method {
            Method::Get | Method::Delete => {
                let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let query: Vec<String> =
                    call.params.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
                if !query.is_empty() {
                    request.path = format!("{}?{}", call.path, query.join("&"));
                }
            }
            Method::Post | Method::Put => {
                request.body = call.params.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
            }
        }
        request
    }
}

#[async_trait]
impl Transport for SimTransport {
    async fn call(&self, call: &ApiCall) -> Result<Answer, TransportFault> {
        self.gate.sleep(TRAVEL_MS).await;
        if call.method.changes() {
            self.gate.point(Point::BeforeAct).await;
        }
        let answer = self.theatre.on(|stage, now| {
            if !stage.world.is_up(&MachineId::node(&self.node)) {
                return None;
            }
            let token = stage.world.realm_of(&self.node).and_then(|realm| realm.tokens.first());
            let request = self.request(call, token.map(proxmaint_lab::world::Token::header));
            Some(stage.world.api(now, &request))
        });
        if call.method.changes() {
            self.gate.point(Point::AfterAct).await;
        }
        let Some(answer) = answer else {
            return Err(TransportFault::NotSent("connection refused".to_owned()));
        };
        self.gate.sleep(TRAVEL_MS + answer.delay_ms).await;
        if answer.lost {
            return Err(TransportFault::Lost("connection closed before an answer came".to_owned()));
        }
        Ok(Answer { status: answer.status, reason: answer.reason, body: answer.body.unwrap_or(Value::Null) })
    }
}
