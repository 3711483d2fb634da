//! Tools that say what is under a guest's volumes: `pvesm path`, `zfs list` and `zfs get`.

use std::sync::Arc;

use super::node::node;
use super::{no_machine, not_simulated};
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::stage::Stage;
use crate::world::{MachineId, World, ctime};

pub(super) async fn pvesm(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let Some((_, realm)) = node(stage, call) else { return no_machine(call, streams).await };
    if !call.is_root() {
        return streams.fail(255, "please run as root").await;
    }
    let ["path", volid] = call.words()[..] else { return not_simulated(call, streams).await };
    let Some((name, volume)) = volid.split_once(':') else {
        return streams.fail(255, &format!("unable to parse volume ID '{volid}'")).await;
    };
    let Some(storage) = realm.storages.iter().find(|storage| storage.name == name) else {
        return streams.fail(255, &format!("storage '{name}' does not exist")).await;
    };
    let path = match storage.kind.as_str() {
        "zfspool" if volume.starts_with("subvol-") => format!("/{}/{volume}", storage.pool()),
        "zfspool" => format!("/dev/zvol/{}/{volume}", storage.pool()),
        "dir" | "nfs" | "cifs" | "cephfs" | "btrfs" => format!("{}/images/{volume}", storage.path()),
        "rbd" => {
            format!("rbd:{name}/{volume}:conf=/etc/pve/ceph.conf:id=admin:keyring=/etc/pve/priv/ceph/{name}.keyring")
        }
        "lvm" | "lvmthin" => format!("/dev/pve/{volume}"),
        _ => return not_simulated(call, streams).await,
    };
    streams.done(&format!("{path}\n")).await
}

/// What `zfs list` is asked for.
#[derive(Debug, Default)]
struct Listing {
    /// `-H`: no heading, tabs between the columns.
    bare: bool,
    /// `-p`: numbers as they are.
    plain: bool,
    /// `-r`, `-d`: what is below as well.
    below: bool,
    /// `-t`: the types.
    types: Vec<String>,
    /// `-o`: the columns.
    columns: Vec<String>,
    /// `-s`, `-S`: by what, and whether backwards.
    order: Option<(String, bool)>,
    /// The datasets.
    names: Vec<String>,
}

impl Listing {
    /// Reads the arguments; `None` where the lab does not know one.
    fn of(words: &[&str]) -> Option<Self> {
        let split = |list: &str| list.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut listing = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(flags) = word.strip_prefix('-') else {
                listing.names.push((*word).to_owned());
                continue;
            };
            for (at, flag) in flags.char_indices() {
                let rest = &flags[at + flag.len_utf8()..];
                let mut value = || if rest.is_empty() { words.next().copied() } else { Some(rest) };
                match flag {
                    'H' => listing.bare = true,
                    'p' => listing.plain = true,
                    'r' => listing.below = true,
                    'd' => listing.below = value()? != "0",
                    't' => listing.types = split(value()?),
                    'o' => listing.columns = split(value()?),
                    's' | 'S' => listing.order = Some((value()?.to_owned(), flag == 'S')),
                    _ => return None,
                }
                if "dtosS".contains(flag) {
                    break;
                }
            }
        }
        Some(listing)
    }

    fn wants(&self, names: &[&str]) -> bool {
        self.types.iter().any(|kind| names.contains(&kind.as_str()) || kind == "all")
    }
}

/// A line of `zfs list`, before it is put into columns.
struct Line {
    name: String,
    created: i64,
    /// When it came about, as the pool counts.
    order: usize,
}

/// `zfs list` and `zfs get`: the datasets of the guests that a node has, and their snapshots.
pub(super) async fn zfs(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let Some((node, _)) = node(stage, call) else { return no_machine(call, streams).await };
    match call.words().split_first() {
        Some((&"list", rest)) => list(stage, call, &node.name, rest, streams).await,
        Some((&"get", rest)) => get(stage, call, &node.name, rest, streams).await,
        Some(_) | None => not_simulated(call, streams).await,
    }
}

async fn list(stage: &Arc<Stage>, call: &Call, node: &str, words: &[&str], streams: &mut Streams) -> Answer {
    let Some(listing) = Listing::of(words) else { return not_simulated(call, streams).await };
    let known = ["name", "creation", "createtxg", "used", "guid"];
    let columns: Vec<&str> = match listing.columns.is_empty() {
        true => vec!["name"],
        false => listing.columns.iter().map(String::as_str).collect(),
    };
    let sorts = listing.order.as_ref().is_none_or(|(by, _)| known.contains(&by.as_str()));
    if !columns.iter().all(|column| known.contains(column)) || !sorts || listing.columns.is_empty() {
        // Sizes and mount points are not simulated, and by default they are shown.
        return not_simulated(call, streams).await;
    }
    let lines = match stage.with(|world, _| lines(world, node, &listing)) {
        Ok(lines) => lines,
        Err(name) => return streams.fail(1, &format!("cannot open '{name}': dataset does not exist")).await,
    };
    let cell = |line: &Line, column: &str| match column {
        "creation" if listing.plain => line.created.to_string(),
        "creation" => ctime(line.created),
        "createtxg" => (1_000 + line.order).to_string(),
        "guid" => (7_000_000_000 + line.order).to_string(),
        "used" => "0".to_owned(),
        _ => line.name.clone(),
    };
    let separator = if listing.bare { "\t" } else { "  " };
    let mut text = String::new();
    if !listing.bare && !lines.is_empty() {
        text.push_str(&format!("{}\n", columns.join(separator).to_uppercase()));
    }
    for line in &lines {
        let cells: Vec<String> = columns.iter().map(|column| cell(line, column)).collect();
        text.push_str(&format!("{}\n", cells.join(separator)));
    }
    streams.done(&text).await
}

/// `zfs get -Hp -o .. written@SNAPSHOT DATASET`: how much was written to a dataset since a snapshot of it, which need not be there.
async fn get(stage: &Arc<Stage>, call: &Call, node: &str, words: &[&str], streams: &mut Streams) -> Answer {
    let Some(asked) = Listing::of(words).filter(|asked| asked.bare && asked.plain) else {
        // Headings, and sizes as people write them, are not simulated.
        return not_simulated(call, streams).await;
    };
    let columns: Vec<&str> = match asked.columns.is_empty() {
        true => vec!["name", "property", "value", "source"],
        false => asked.columns.iter().map(String::as_str).collect(),
    };
    let [property, dataset] = &asked.names[..] else { return not_simulated(call, streams).await };
    let Some(snapshot) = property.strip_prefix("written@").filter(|_| !dataset.contains('@')) else {
        return not_simulated(call, streams).await;
    };
    let written = stage.with(|world, _| {
        let on_node = world.guests_on(node);
        let mut guests = on_node.iter().filter_map(|id| world.guest(id));
        let guest = guests.find(|guest| world.datasets(guest).iter().any(|(_, name)| name == dataset))?;
        Some(world.written_since(guest, dataset, snapshot))
    });
    let Some(written) = written else {
        return streams.fail(1, &format!("cannot open '{dataset}': dataset does not exist")).await;
    };
    // Without the snapshot there is no such property, which is no error.
    let (value, source) = written.map_or(("-".to_owned(), "-"), |bytes| (bytes.to_string(), "local"));
    let mut cells = Vec::new();
    for column in columns {
        cells.push(match column {
            "name" => dataset,
            "property" => property,
            "value" => value.as_str(),
            "source" => source,
            _ => return not_simulated(call, streams).await,
        });
    }
    streams.done(&format!("{}\n", cells.join("\t"))).await
}

/// Returns what is listed, in order; or the name of a dataset that is not there.
fn lines(world: &World, node: &str, listing: &Listing) -> Result<Vec<Line>, String> {
    let mut datasets: Vec<(String, MachineId)> = Vec::new();
    for id in world.guests_on(node) {
        let of_guest = world.guest(&id).map(|guest| world.datasets(guest)).unwrap_or_default();
        datasets.extend(of_guest.into_iter().map(|(_, dataset)| (dataset, id.clone())));
    }
    let under = |name: &str, dataset: &str| dataset.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    for name in &listing.names {
        // The pool itself is there, whatever is in it.
        let pool = world.realm_of(node).is_some_and(|realm| {
            let pools = realm.storages.iter().filter(|s| s.kind == "zfspool" && s.on.contains_key(node));
            pools.map(|s| s.pool()).any(|pool| pool == *name || under(name, &pool))
        });
        if !pool && datasets.iter().all(|(dataset, _)| dataset != name) {
            return Err(name.clone());
        }
    }
    let wanted = |dataset: &str| {
        let named = |name: &String| name == dataset || (listing.below && under(name, dataset));
        listing.names.is_empty() || listing.names.iter().any(named)
    };
    let mut lines = Vec::new();
    for (dataset, id) in datasets.into_iter().filter(|(dataset, _)| wanted(dataset)) {
        let kind = if dataset.contains("/subvol-") { ["filesystem", "fs"] } else { ["volume", "vol"] };
        if listing.types.is_empty() || listing.wants(&kind) {
            lines.push(Line { name: dataset.clone(), created: world.unix(0) - 86_400, order: 0 });
        }
        if listing.wants(&["snapshot", "snap"]) {
            let snapshots = world.guest(&id).map(|guest| guest.dataset_snapshots.as_slice()).unwrap_or_default();
            lines.extend(snapshots.iter().enumerate().map(|(n, snapshot)| Line {
                name: format!("{dataset}@{}", snapshot.name),
                created: snapshot.created,
                order: n + 1,
            }));
        }
    }
    match &listing.order {
        Some((by, _)) if by == "creation" => lines.sort_by_key(|line| (line.created, line.order)),
        Some((by, _)) if by == "createtxg" => lines.sort_by_key(|line| line.order),
        Some(_) | None => lines.sort_by(|a, b| a.name.cmp(&b.name)),
    }
    if listing.order.as_ref().is_some_and(|(_, backwards)| *backwards) {
        lines.reverse();
    }
    Ok(lines)
}
