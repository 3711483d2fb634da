//! The HTTPS API of the nodes, apart from any transport: a request goes in, an answer comes out, and the world has changed.
//!
//! Shapes, types (strings for some numbers, 0 and 1 for booleans), reason phrases, and what fails at once and what only in the
//! task are those of a real PVE 9.2.

mod access;
mod agent;
mod call;
mod ceph;
mod cluster;
pub(crate) mod guest;
mod guest_acts;
pub(crate) mod ha;
#[cfg(test)]
mod https_tests;
mod migrate;
mod node;
mod params;
#[cfg(test)]
mod power_tests;
mod refused;
mod request;
mod routes;
mod server;
mod storage;
mod tasks;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub use access::Access;
pub use params::{Kind, Param};
pub use request::{ApiAnswer, ApiRequest};
pub use routes::{Endpoint, endpoints};
pub use server::ApiServers;

use crate::faults::RequestFault;
use crate::world::{MachineId, Time, World};
use call::{Call, Failure};

impl World {
    /// Answers a request to the API of a node, at a time.
    pub fn api(&mut self, now: Time, request: &ApiRequest) -> ApiAnswer {
        self.advance(now);
        if !self.is_up(&MachineId::node(&request.node)) {
            return ApiAnswer::nothing(0);
        }
        let path = request.plain_path();
        let fault = self.faults.request(&request.node, &request.method, &path);
        let before = self.ledger.entries().len() as u64;
        match fault {
            Some(RequestFault::Status { code, reason }) => ApiAnswer::gateway(code, reason),
            Some(RequestFault::Silence { ms }) => ApiAnswer::nothing(ms),
            Some(RequestFault::Refuse) => ApiAnswer::nothing(0),
            Some(RequestFault::Lost) => {
                self.answer(request);
                self.ledger.mark_lost_after(before);
                ApiAnswer::nothing(0)
            }
            Some(RequestFault::Late { ms }) => {
                let mut answer = self.answer(request);
                answer.delay_ms = answer.delay_ms.saturating_add(ms);
                answer
            }
            None => self.answer(request),
        }
    }

    fn answer(&mut self, request: &ApiRequest) -> ApiAnswer {
        let asker = match access::authenticate(self, request) {
            Ok(token) => token,
            Err(reason) => return ApiAnswer::empty(401, reason, self.durations.auth_delay),
        };
        let before = self.ledger.entries().len();
        let mut call = Call::new(self, request, asker);
        let done = run(&mut call);
        if let Err(failure) = &done
            && call.world.ledger.entries().len() == before
        {
            refused::enter(&mut call, failure);
        }
        match done {
            Ok(data) => {
                let mut body = json!({ "data": data });
                if let Some(total) = call.total.filter(|total| *total > 0) {
                    body["total"] = total.into();
                }
                ApiAnswer::ok(body, call.delay_ms)
            }
            Err(failure) => failure.answer(call.delay_ms),
        }
    }
}

/// Returns the endpoint that a request is for.
pub fn endpoint_of(request: &ApiRequest) -> Option<&'static Endpoint> {
    routes::find(&request.method, &request.segments()).map(|(endpoint, _)| endpoint)
}

/// Finds the endpoint, checks in the order that the real API has (path, privileges, the node asked for, parameters), and runs it.
fn run(call: &mut Call<'_>) -> Result<Value, Failure> {
    let (method, path) = (call.request.method.clone(), call.request.plain_path());
    let Some((endpoint, in_path)) = routes::find(&method, &call.request.segments()) else {
        return Err(Failure::NotImplemented { method, path });
    };
    call.in_path.clone_from(&in_path);
    access::check(call, endpoint.access)?;
    if let Some(node) = in_path.get("node") {
        reach(call, node)?;
    }
    let given: BTreeMap<String, Value> = call.request.given();
    call.params = params::check(endpoint.params, &in_path, &given).map_err(Failure::Parameters)?;
    if let Some(name) = given.keys().find(|name| endpoint.params.iter().any(|p| p.name == **name && !p.modelled)) {
        return Err(Failure::text(format!("the lab does not model parameter '{name}' of {method} {}", endpoint.path)));
    }
    (endpoint.run)(call)
}

/// A node answers for the others of its cluster, as far as it reaches them.
fn reach(call: &Call<'_>, node: &str) -> Result<(), Failure> {
    let asked = call.world.nodes.get(&call.request.node).map(|n| n.realm.clone());
    match call.world.nodes.get(node) {
        Some(there) if Some(&there.realm) == asked.as_ref() => {
            if there.online {
                Ok(())
            } else {
                Err(Failure::Gateway(595, "No route to host".to_owned()))
            }
        }
        _ => Err(Failure::text(format!(
            "hostname lookup '{node}' failed - failed to get address info for: {node}: Name or service not known"
        ))),
    }
}
