//! `proxmaint manifest set`, `unset`, `add-host` and `remove-host`: single edits, for scripts and for hands.
//!
//! With `--dry-run` the difference goes to `out` and nothing is saved; else it is saved, and the difference goes to `err`. Wrong
//! keys and values, and edits that would make a valid manifest an invalid one, are wrong usage (2).

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use crate::choices::Selector;
use crate::cli::args::{AddHostArgs, RemoveHostArgs, SetArgs, SpotArgs, UnsetArgs};
use crate::cli::diagnostics::Failure;
use crate::cli::exit_code::Exit;
use crate::ids::GuestId;
use crate::manifest::edit::{
    Document, EditError, ManifestFile, SaveError, Scope, Setting, Spot, UnknownKey, Value, suggested_variables,
};
use crate::manifest::{Env, Manifest, ManifestError};
use crate::observe::style::Paint;

use super::{write_error, write_problems};

/// One edit, as the command line asks for it.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'a> {
    /// `manifest set`.
    Set(&'a SetArgs),
    /// `manifest unset`.
    Unset(&'a UnsetArgs),
    /// `manifest add-host`.
    AddHost(&'a AddHostArgs),
    /// `manifest remove-host`.
    RemoveHost(&'a RemoveHostArgs),
}

/// Does one edit, or shows what it would do.
///
/// # Errors
/// The command line names no such host or key, the value does not fit, or the file can't be saved.
pub fn edit(
    path: &Path,
    edit: Edit<'_>,
    env: &Env<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, Failure> {
    match work(path, edit, env, out, err) {
        Ok(exit) => Ok(exit),
        Err(Stop::Failed(failure)) => Err(failure),
        // Whoever closed the pipe has read enough.
        Err(Stop::Unwritten(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Clean),
        Err(Stop::Unwritten(error)) => Err(Failure::new(Exit::Config, error)),
    }
}

/// Why it went no further.
enum Stop {
    Failed(Failure),
    Unwritten(io::Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unwritten(error)
    }
}

impl From<EditError> for Stop {
    fn from(error: EditError) -> Self {
        let hint = error.hint();
        Self::Failed(usage(error).hint(hint))
    }
}

fn work(path: &Path, edit: Edit<'_>, env: &Env<'_>, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, Stop> {
    let (mut file, mut document) = match ManifestFile::open(path, env) {
        Ok(opened) => opened,
        Err(error) => return refuse(&error, err),
    };
    if !file.existed() && !matches!(edit, Edit::AddHost(_)) {
        return match Manifest::load(path, env) {
            Err(error) => refuse(&error, err),
            Ok(_) => Err(usage("the manifest has just been made by somebody else").hint("do it again").into()),
        };
    }
    let (notes, dry_run) = match edit {
        Edit::Set(args) => (set(&mut document, args)?, args.spot.dry_run),
        Edit::Unset(args) => (unset(&mut document, args)?, args.spot.dry_run),
        Edit::AddHost(args) => (add_host(&mut document, args)?, args.dry_run),
        Edit::RemoveHost(args) => (remove_host(&mut document, args)?, args.dry_run),
    };
    if file.is_same(&document) {
        writeln!(err, "{} needs no change", path.display())?;
        write_notes(&notes, err)?;
        return Ok(Exit::Clean);
    }
    let diff = file.diff(&document);
    let manifest = if dry_run {
        document.manifest(file.path(), env).map_err(SaveError::from)
    } else {
        let was_valid = file.manifest_before(env).is_ok() || !file.existed();
        let saved = file.save(&document, env);
        if let Err(SaveError::Invalid(error)) = &saved {
            return invalid(error, was_valid, err);
        }
        saved
    };
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(SaveError::Invalid(error)) => {
            let was_valid = file.manifest_before(env).is_ok() || !file.existed();
            return invalid(&error, was_valid, err);
        }
        Err(error) => return not_saved(error, err),
    };
    write_problems(&manifest.warnings, err)?;
    if dry_run {
        out.write_all(painted(&diff, Paint::for_stream(&io::stdout())).as_bytes())?;
    } else {
        err.write_all(painted(&diff, Paint::for_stream(&io::stderr())).as_bytes())?;
        let backup = file.backup();
        let kept = if backup.exists() { format!("; the previous one is {}", backup.display()) } else { String::new() };
        writeln!(err, "saved {}{kept}", path.display())?;
    }
    write_notes(&notes, err)?;
    Ok(Exit::Clean)
}

fn write_notes(notes: &[String], err: &mut dyn Write) -> io::Result<()> {
    notes.iter().try_for_each(|note| writeln!(err, "note: {note}"))
}

/// Colours a difference in the unified format.
pub fn painted(diff: &str, paint: Paint) -> String {
    let line = |line: &str| match line.as_bytes() {
        [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => paint.strong(line),
        [b'+', ..] => paint.good(line),
        [b'-', ..] => paint.bad(line),
        [b'@', ..] => paint.note(line),
        _ => line.to_owned(),
    };
    diff.lines().map(|text| line(text) + "\n").collect()
}

fn refuse(error: &ManifestError, err: &mut dyn Write) -> Result<Exit, Stop> {
    write_error(error, err)?;
    Ok(Exit::Config)
}

/// Says why the edit would leave no valid manifest: the edit is to blame where it was one before.
fn invalid(error: &ManifestError, was_valid: bool, err: &mut dyn Write) -> Result<Exit, Stop> {
    write_error(error, err)?;
    writeln!(err, "hint: nothing is saved; the lines above are those of the file as it would be")?;
    Ok(if was_valid { Exit::Usage } else { Exit::Config })
}

fn not_saved(error: SaveError, err: &mut dyn Write) -> Result<Exit, Stop> {
    if let SaveError::Changed { diff, .. } = &error {
        let what =
            if diff.is_empty() { "the difference is in what is not shown: passwords and line breaks\n" } else { diff };
        err.write_all(painted(what, Paint::for_stream(&io::stderr())).as_bytes())?;
    }
    let hint = error.hint();
    let failure = Failure::new(Exit::Config, error);
    Err(hint.into_iter().fold(failure, Failure::hint).into())
}

fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
    Failure::new(Exit::Usage, error)
}

fn set(document: &mut Document, args: &SetArgs) -> Result<Vec<String>, Stop> {
    let scope = scope(&args.spot);
    let setting = setting(scope, &args.key)?;
    let value = value(&setting, &args.value)?;
    let Some(spot) = spot(document, &args.spot)? else {
        // The guest has no rule of its own yet.
        let host = host(document, args.spot.host.as_deref().unwrap_or_default())?;
        let id = Scope::Rule.setting("id").map_err(unknown)?;
        let guest = args.spot.guest.map_or(0, |guest| i64::from(guest.0));
        document.add_rule(host, &[(id, Value::Number(guest)), (setting, value)])?;
        return Ok(Vec::new());
    };
    document.set(spot, &setting, &value)?;
    Ok(overruled(document, spot, &setting))
}

fn unset(document: &mut Document, args: &UnsetArgs) -> Result<Vec<String>, Stop> {
    let scope = scope(&args.spot);
    let setting = setting(scope, &args.key)?;
    // Where the guest has no rule there is nothing to take out.
    let Some(spot) = spot(document, &args.spot)? else { return Ok(Vec::new()) };
    if !document.unset(spot, &setting)? {
        return Ok(vec![format!("`{}` was not set in {}", args.key, scope.as_str())]);
    }
    let holds = match document.inherited(spot, &setting) {
        Some(above) => format!("{} of {}", above.value, above.from.as_str()),
        None => format!("the default, {}", setting.default().replace('`', "")),
    };
    Ok(vec![format!("`{}`: what holds now is {holds}", args.key)])
}

fn add_host(document: &mut Document, args: &AddHostArgs) -> Result<Vec<String>, Stop> {
    let name = args.name.as_deref().unwrap_or(&args.host);
    let (token, secret) = suggested_variables(name);
    let mut settings: Vec<(Setting, Value)> = Vec::new();
    let mut push = |key: &str, text: &str| -> Result<(), Stop> {
        let setting = setting(Scope::Host, key)?;
        if settings.iter().any(|(other, _)| *other == setting) {
            return Err(usage(format!("`{}` is given twice", setting.name())).into());
        }
        settings.push((setting, value(&setting, text)?));
        Ok(())
    };
    if let Some(name) = &args.name {
        push("name", name)?;
    }
    push("host", &args.host)?;
    let is_given = |key: &str| {
        let wanted = Scope::Host.setting(key);
        args.settings.iter().any(|(given, _)| Scope::Host.setting(given) == wanted && wanted.is_ok())
    };
    let mut suggested = Vec::new();
    for (key, given, suggestion) in
        [("api.token_env", &args.token_env, token), ("api.secret_env", &args.secret_env, secret)]
    {
        match given {
            Some(variable) => push(key, variable)?,
            None if is_given(key) => {}
            None => {
                push(key, &suggestion)?;
                suggested.push(suggestion);
            }
        }
    }
    for (key, value) in &args.settings {
        push(key, value)?;
    }
    document.add_host(&settings)?;
    let notes = suggested.iter().map(|variable| format!("`run` takes the API token from the variable {variable}"));
    Ok(notes.collect())
}

fn remove_host(document: &mut Document, args: &RemoveHostArgs) -> Result<Vec<String>, Stop> {
    let index = host(document, &args.name)?;
    document.remove_item(Spot::Host(index))?;
    Ok(Vec::new())
}

fn scope(args: &SpotArgs) -> Scope {
    match (&args.host, args.guest) {
        (_, Some(_)) => Scope::Rule,
        (Some(_), None) => Scope::Host,
        (None, None) => Scope::Defaults,
    }
}

/// Returns the table that is meant; `None` where the guest has no rule of its own.
fn spot(document: &Document, args: &SpotArgs) -> Result<Option<Spot>, Stop> {
    let Some(name) = &args.host else { return Ok(Some(Spot::Defaults)) };
    let host = host(document, name)?;
    let rule = |guest: GuestId| document.rule(host, guest);
    Ok(args.guest.map_or(Some(Spot::Host(host)), rule))
}

/// Returns which host has that name.
///
/// # Errors
/// None has: wrong usage, with the names that there are.
pub(in crate::cli) fn host(document: &Document, name: &str) -> Result<usize, Failure> {
    let hosts = document.hosts();
    hosts.iter().position(|host| host == name).ok_or_else(|| {
        let known = match hosts.is_empty() {
            true => "it has none yet".to_owned(),
            false => format!("its hosts are {}", hosts.join(", ")),
        };
        usage(format!("the manifest has no host `{name}`")).hint(known)
    })
}

fn setting(scope: Scope, key: &str) -> Result<Setting, Failure> {
    scope.setting(key).map_err(unknown)
}

fn unknown(error: UnknownKey) -> Failure {
    let hint = match (error.scope, error.elsewhere) {
        (Scope::Defaults, Some(Scope::Host)) => "each host has its own: name the host with --host".to_owned(),
        (Scope::Host, Some(Scope::Defaults)) => "it holds for all hosts: leave --host out".to_owned(),
        (Scope::Defaults | Scope::Host, Some(Scope::Rule)) => {
            "it is about single guests: name one with --host and --guest".to_owned()
        }
        (Scope::Rule, Some(_)) => "it is about the whole host: leave --guest out".to_owned(),
        _ => error.hint(),
    };
    usage(error).hint(hint)
}

fn value(setting: &Setting, text: &str) -> Result<Value, Failure> {
    setting.parse(text).map_err(usage)
}

/// Says which later rules could say something else of the same guests: each of them, but for those of other single guests.
pub(in crate::cli) fn overruled(document: &Document, spot: Spot, setting: &Setting) -> Vec<String> {
    let Spot::Rule(host, rule) = spot else { return Vec::new() };
    let Some(own) = who(document, spot) else { return Vec::new() };
    let later =
        document.rules(host).into_iter().skip(rule + 1).filter(|later| document.given(*later, setting).is_some());
    let about_others =
        |other: &Selector| matches!((&own, other), (Selector::Id(one), Selector::Id(other)) if one != other);
    let selectors = later.filter_map(|later| who(document, later)).filter(|other| !about_others(other));
    selectors
        .map(|who| format!("a later rule says `{}` of {who} too, and goes before this one", setting.name()))
        .collect()
}

/// Returns which guests a rule is about, where that can be told.
fn who(document: &Document, rule: Spot) -> Option<Selector> {
    let given = |key| Some(document.given(rule, &Scope::Rule.setting(key).ok()?)?.1);
    match given("id").or_else(|| given("match"))? {
        Value::Number(id) => u32::try_from(id).ok().map(|id| Selector::Id(GuestId(id))),
        Value::Text(text) => text.parse().ok(),
        Value::Boolean(_) | Value::List(_) => None,
    }
}
