//! Who asks, and what they may do.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::ApiRequest;
use super::call::{Call, Failure};
use crate::world::{ALL_PRIVILEGES, Token, World};

/// What an endpoint asks for before it looks at anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A valid token.
    Anyone,
    /// All of these privileges at a path.
    All(&'static str, &'static [&'static str]),
    /// One of these privileges at a path.
    Any(&'static str, &'static [&'static str]),
}

/// Finds the token of a request, or says why there is none.
pub(crate) fn authenticate(world: &World, request: &ApiRequest) -> Result<Token, &'static str> {
    let Some(header) = &request.authorization else { return Err("No ticket") };
    let given = header.strip_prefix("PVEAPIToken=").ok_or("No ticket")?;
    let realm = world.realm_of(&request.node).ok_or("Authentication failed!")?;
    let fits = |token: &&Token| given == format!("{}={}", token.full_id(), token.secret);
    realm.tokens.iter().find(fits).cloned().ok_or("Authentication failed!")
}

/// Checks what an endpoint asks for; placeholders of its path are those of the request's.
pub(crate) fn check(call: &Call<'_>, access: Access) -> Result<(), Failure> {
    match access {
        Access::Anyone => Ok(()),
        Access::All(path, privs) => {
            let path = filled(call, path);
            privs.iter().try_for_each(|p| call.need(&path, &[p]))
        }
        Access::Any(path, privs) => call.need(&filled(call, path), privs),
    }
}

fn filled(call: &Call<'_>, path: &str) -> String {
    call.in_path.iter().fold(path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value))
}

impl Call<'_> {
    /// Returns what the token may do at a path: what its user may, and where its privileges are separated, what both may.
    pub(crate) fn privileges(&self, path: &str) -> BTreeSet<String> {
        let Ok(realm) = self.realm() else { return BTreeSet::new() };
        let user = realm.users.iter().find(|u| u.name == self.token.user);
        let of_user = match user {
            None => BTreeSet::new(),
            Some(user) => match &user.acl {
                None => ALL_PRIVILEGES.iter().map(|p| (*p).to_owned()).collect(),
                Some(acl) => acl.at(path),
            },
        };
        match &self.token.acl {
            None => of_user,
            Some(acl) => acl.at(path).intersection(&of_user).cloned().collect(),
        }
    }

    /// Tells whether the token has one of these privileges at a path.
    pub(crate) fn may(&self, path: &str, privs: &[&str]) -> bool {
        // Asked for each guest of a list; most tokens may do everything.
        let user = self.realm().ok().and_then(|realm| realm.users.iter().find(|u| u.name == self.token.user));
        if self.token.acl.is_none() && user.is_some_and(|user| user.acl.is_none()) {
            return privs.iter().any(|p| ALL_PRIVILEGES.contains(p));
        }
        let has = self.privileges(path);
        privs.iter().any(|p| has.contains(*p))
    }

    /// Asks for one of these privileges at a path.
    pub(crate) fn need(&self, path: &str, privs: &[&str]) -> Result<(), Failure> {
        if self.may(path, privs) { Ok(()) } else { Err(Failure::Denied(path.to_owned(), privs.join("|"))) }
    }
}

/// `GET /access/permissions`
pub(crate) fn permissions(call: &mut Call<'_>) -> Result<Value, Failure> {
    let at = |path: &str| {
        let privs = call.privileges(path);
        let flags: Map<String, Value> = privs.into_iter().map(|p| (p, 1.into())).collect();
        (path.to_owned(), Value::from(flags))
    };
    if let Some(path) = call.opt("path") {
        return Ok(Map::from_iter([at(path)]).into());
    }
    let realm = call.realm()?;
    let own = realm.users.iter().find(|u| u.name == call.token.user).and_then(|u| u.acl.as_ref());
    let mut paths: BTreeSet<&str> =
        BTreeSet::from(["/", "/access", "/access/groups", "/nodes", "/sdn", "/storage", "/vms"]);
    for acl in own.into_iter().chain(&call.token.acl) {
        paths.extend(acl.0.keys().map(String::as_str));
    }
    let all: Map<String, Value> = paths.into_iter().map(at).collect();
    Ok(all.into_iter().filter(|(_, privs)| privs.as_object().is_some_and(|p| !p.is_empty())).collect())
}
