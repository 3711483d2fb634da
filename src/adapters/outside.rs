//! Connections from the machine that this program runs on, for the checks of guests.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Response, redirect};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::adapters::pve::tls::{Trust, client_config};
use crate::adapters::remote::harmless;
use crate::engine::port::{Outside, Outward};

/// How long a text of others is quoted.
const MOST_QUOTED: usize = 200;

/// Connects from here.
#[derive(Debug, Clone, Copy, Default)]
pub struct FromHere;

#[async_trait]
impl Outside for FromHere {
    async fn ask(&self, what: &Outward, within: Duration) -> Result<(), String> {
        let late = |_| Err(format!("no answer within {} s", within.as_secs_f32()));
        match what {
            Outward::Tcp { host, port } => timeout(within, tcp(host, *port)).await.unwrap_or_else(late),
            Outward::Http { url, status, text, insecure, redirects } => {
                let page = page(url, status, text.as_deref(), *insecure, *redirects);
                timeout(within, page).await.unwrap_or_else(late)
            }
        }
    }
}

async fn tcp(host: &str, port: u16) -> Result<(), String> {
    match TcpStream::connect((host, port)).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("no connection to {host} port {port}: {}", harmless(&error.to_string()))),
    }
}

async fn page(url: &str, status: &[u16], text: Option<&str>, insecure: bool, redirects: u8) -> Result<(), String> {
    let trust = if insecure { Trust::Insecure } else { Trust::System };
    let tls = client_config(&trust).map_err(|error| format!("TLS can't be set up: {error}"))?;
    let follow = if redirects == 0 { redirect::Policy::none() } else { redirect::Policy::limited(redirects.into()) };
    // A connection of its own each time: one that was kept from before an upgrade proves nothing. A proxy of this machine's is none of
    // the guest's.
    let client = Client::builder().tls_backend_preconfigured(tls).redirect(follow).no_proxy().build();
    let client = client.map_err(|error| format!("no client can be made: {}", told(&error)))?;
    let answer = client.get(url).send().await.map_err(|error| told(&error))?;
    let got = answer.status().as_u16();
    let well = if status.is_empty() { (200..300).contains(&got) } else { status.contains(&got) };
    if !well {
        let wanted = match status {
            [] => "200 to 299".to_owned(),
            some => some.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
        };
        return Err(format!("answers {got}, expected was {wanted}"));
    }
    match text {
        Some(text) if !contains(answer, text).await? => Err(format!("answers {got}, but without {text:?}")),
        Some(_) | None => Ok(()),
    }
}

/// Looks for a text in the first part of a page; what comes after that is not read.
async fn contains(mut answer: Response, text: &str) -> Result<bool, String> {
    let mut read: Vec<u8> = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| told(&error))? {
        read.extend_from_slice(&chunk[..chunk.len().min(Outward::MOST_READ - read.len())]);
        if read.len() == Outward::MOST_READ {
            break;
        }
    }
    Ok(read.windows(text.len().max(1)).any(|part| part == text.as_bytes()))
}

/// Writes an error with its causes as one harmless fragment, without the address: the check is named beside it.
fn told(error: &reqwest::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    // Errors name their causes a few levels deep; more than eight would be a circle.
    for _ in 0..8 {
        let Some(error) = cause else { break };
        let word = harmless(&error.to_string());
        if !words.iter().any(|earlier| earlier.contains(&word)) {
            words.push(word);
        }
        cause = error.source();
    }
    let text = match words.is_empty() {
        true => harmless(&error.to_string()),
        false => words.join(": "),
    };
    text.chars().take(MOST_QUOTED).collect()
}
