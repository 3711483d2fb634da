//! Scripts carried by a VM's guest agent, over the lab's HTTPS: the commands really run, as the agent runs them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use proxmaint::adapters::pve::client::Client;
use proxmaint::adapters::pve::http::{ApiEndpoint, HttpTransport, Limits};
use proxmaint::adapters::pve::tls::Trust;
use proxmaint::adapters::remote::over_agent::AgentExec;
use proxmaint::adapters::remote::{Adapter, Exec, ExecLimit, ExecOutput, Ways};
use proxmaint::engine::port::{AgentState, GuestRef, Job, JobStart, JobState, JobWork, Place, Pve, Remote};
use proxmaint::ids::{GuestId, GuestKind, NodeName};
use proxmaint::inventory::PackageManager;
use proxmaint::machine::outcome::{Fault, FaultClass};
use proxmaint_lab::Lab;
use proxmaint_lab::faults::{Fault as LabFault, Faults, RequestFault};
use proxmaint_lab::ledger::{Act, Entry, Outcome};
use proxmaint_lab::world::{Acl, Agent, Asker, GuestSpec, MachineId, Token, World, WorldBuilder};

const NODE: &str = "edge1";
const VM: u32 = 201;

/// Long enough for a busy machine, with room for what is printed.
const LIMIT: ExecLimit = ExecLimit { timeout: Duration::from_secs(20), max_output: 64 * 1024 };

fn builder(vm: impl FnOnce(GuestSpec) -> GuestSpec) -> WorldBuilder {
    World::builder().standalone(NODE).vm(NODE, VM, |spec| vm(spec.name("db").ssh_users(&[])))
}

async fn lab(vm: impl FnOnce(GuestSpec) -> GuestSpec) -> Lab {
    Lab::start(builder(vm).build()).await.unwrap()
}

fn place() -> Place {
    Place::Agent(NodeName::new(NODE), GuestId(VM))
}

fn id() -> MachineId {
    MachineId::guest(NODE, VM)
}

fn client_as(lab: &Lab, (name, secret): (String, String)) -> Arc<Client<HttpTransport>> {
    let limits = Limits { read: Duration::from_secs(5), change: Duration::from_secs(5), ..Limits::default() };
    let endpoint = ApiEndpoint {
        host: "127.0.0.1".to_owned(),
        port: lab.api_addr(NODE).port(),
        trust: Trust::Insecure,
        token: format!("{name}={secret}").into(),
    };
    Arc::new(Client::new(HttpTransport::with_limits(&endpoint, limits).unwrap()))
}

fn client(lab: &Lab) -> Arc<Client<HttpTransport>> {
    client_as(lab, lab.token(NODE))
}

fn exec(lab: &Lab) -> AgentExec<HttpTransport> {
    AgentExec::new(client(lab))
}

async fn run(lab: &Lab, script: &str) -> Result<ExecOutput, Fault> {
    exec(lab).exec(&place(), script, LIMIT).await
}

/// Counts the commands that the agent was given.
fn given(lab: &Lab) -> usize {
    lab.with(|world, _| {
        let begun = |e: &&Entry| e.act == Act::AgentExec && e.outcome == Outcome::Begun;
        world.ledger.entries().iter().filter(begun).count()
    })
}

fn strike(lab: &Lab, method: &str, what: &str, times: u32, effect: RequestFault) {
    let path = format!("/nodes/*/qemu/{VM}/agent/{what}");
    lab.with(|world, _| {
        let fault = LabFault::request(method, &path, effect);
        world.faults.plant(LabFault { times, ..fault });
    });
}

fn busy() -> RequestFault {
    RequestFault::Status {
        code: 500,
        reason: Some(format!("VM {VM} qga command 'guest-exec-status' failed - got timeout")),
    }
}

#[tokio::test]
async fn a_script_runs_as_root_in_its_vm_and_tells_how_it_ended() {
    let lab = lab(|vm| vm).await;
    let output = run(&lab, "hostname; id -u; printf 'grün → %s\\n' \"it's\"; echo bad >&2; cat; exit 3").await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "db\n0\ngrün → it's\n", "and standard input is empty");
    assert_eq!((output.exit, output.stderr.as_slice(), output.truncated), (3, &b"bad\n"[..], false));
    assert_eq!(run(&lab, "kill -9 $$").await.unwrap().exit, 137, "a signal is told as a shell tells it");
    assert_eq!(given(&lab), 2, "each was given to the agent once");
}

#[tokio::test]
async fn a_script_of_a_hundred_kilobytes_gets_there_through_requests_of_sixty_four() {
    let lab = lab(|vm| vm).await;
    // The lab does not see into what is compressed: no path may stand in it.
    let mut script = String::from("echo begun\n");
    for line in 0.. {
        if script.len() > 100 * 1024 {
            break;
        }
        script.push_str(&format!("# line {line}: it's \"quoted\", $expanded and `run`\nnumber={line}\n"));
    }
    script.push_str("hostname; exit 5\n");
    let output = run(&lab, &script).await.unwrap();
    assert_eq!((output.exit, output.stdout.as_slice()), (5, &b"begun\ndb\n"[..]));
    // What no kernel hands over is not tried.
    let fault = run(&lab, &"x".repeat(128 * 1024)).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    assert_eq!(given(&lab), 1);
}

#[tokio::test]
async fn output_is_cut_by_the_agent_or_by_us_and_either_is_told() {
    let lab = lab(|vm| vm.agent_keeps(20)).await;
    let output = run(&lab, "printf 123456789012345678901").await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.truncated), (&b"12345678901234567890"[..], true));
    let output = run(&lab, "printf 12345 >&2; printf 12345678901234567890").await.unwrap();
    assert!(!output.truncated, "what fits is whole");
    let short = ExecLimit { max_output: 4, ..LIMIT };
    let output = exec(&lab).exec(&place(), "printf 12345 >&2", short).await.unwrap();
    assert_eq!((output.stderr.as_slice(), output.truncated), (&b"1234"[..], true));
    let fault = Adapter::new(exec(&lab)).identity(&place()).await.unwrap_err();
    assert!(fault.what.contains("longer than"), "{fault}");
}

#[tokio::test]
async fn a_question_without_an_answer_is_asked_again_and_the_command_is_not() {
    let effects = [busy(), RequestFault::Lost, RequestFault::Refuse, RequestFault::Status { code: 596, reason: None }];
    join_all(effects.map(asked_again)).await;
}

/// Lets two questions go without an answer while the command is at work, so that none of them tells its end.
async fn asked_again(effect: RequestFault) {
    let lab = lab(|vm| vm).await;
    let go = lab.root_of(&id()).join("go");
    strike(&lab, "GET", "exec-status", 2, effect.clone());
    let asked = async {
        let script = "n=0; while [ ! -e go ] && [ $n -lt 1000 ]; do n=$((n + 1)); sleep 0.02; done; echo done";
        run(&lab, script).await
    };
    let released = async {
        while lab.with(|world, _| world.faults.planted().iter().any(|f| f.seen < 3)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::write(&go, "").unwrap();
    };
    let (output, ()) = tokio::join!(asked, released);
    assert_eq!(output.unwrap().stdout, b"done\n", "{effect:?}");
    assert_eq!(given(&lab), 1, "{effect:?}");
}

#[tokio::test]
async fn what_became_of_a_command_is_in_doubt_where_its_end_is_not_known() {
    // The one answer that tells the end is lost: the agent has forgotten it.
    let lab_lost = lab(|vm| vm).await;
    strike(&lab_lost, "GET", "exec-status", 0, RequestFault::Lost);
    let told = async {
        let known = || lab_lost.with(|world, _| world.guest(&id()).unwrap().agent_execs.len());
        while given(&lab_lost) == 0 || known() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lab_lost.with(|world, _| world.faults = Faults::default());
    };
    let (outcome, ()) = tokio::join!(run(&lab_lost, "true"), told);
    let fault = outcome.unwrap_err();
    assert_eq!(fault.class, FaultClass::Ambiguous, "{fault}");
    assert!(fault.what.contains("does not know the command any more"), "{fault}");
    // The answer to the request that began it is lost.
    let lab_begun = lab(|vm| vm).await;
    strike(&lab_begun, "POST", "exec", 1, RequestFault::Lost);
    assert_eq!(run(&lab_begun, "true").await.unwrap_err().class, FaultClass::Ambiguous);
    assert_eq!(given(&lab_begun), 1);
    // It does not end in time, and nobody says how it is getting on.
    let lab_slow = lab(|vm| vm).await;
    strike(&lab_slow, "GET", "exec-status", 0, busy());
    let hasty = ExecLimit { timeout: Duration::from_millis(600), ..LIMIT };
    let fault = exec(&lab_slow).exec(&place(), "true", hasty).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Ambiguous);
    assert!(fault.what.contains("did not end in time") && fault.what.contains("did not answer in time"), "{fault}");
}

#[tokio::test]
async fn each_agent_that_does_not_run_commands_is_told_apart() {
    use FaultClass::{Permanent, Transient};
    type Shape = fn(GuestSpec) -> GuestSpec;
    let cases: [(Shape, FaultClass, &str); 5] = [
        (GuestSpec::no_agent, Permanent, "enables no guest agent"),
        (GuestSpec::silent_agent, Transient, "none is running in it"),
        (|vm| vm.no_agent().config("agent", "0"), Permanent, "does not enable a guest agent"),
        (GuestSpec::agent_exec_disabled, Permanent, "guest-exec is disabled in the guest"),
        (GuestSpec::stopped, Permanent, "VM 201 is not running"),
    ];
    for (spec, class, what) in cases {
        let lab = lab(spec).await;
        let fault = run(&lab, "true").await.unwrap_err();
        assert_eq!(fault.class, class, "{what}: {fault}");
        assert!(fault.what.contains(what), "{fault}");
        assert_eq!(given(&lab), 0, "{what}");
    }
}

#[tokio::test]
async fn an_agent_is_waited_for_after_a_start_and_told_from_one_that_is_not_there() {
    let lab = lab(|vm| vm.stopped().agent_ready_ms(400)).await;
    let (api, guest) = (client(&lab), GuestRef { node: NodeName::new(NODE), kind: GuestKind::Vm, id: GuestId(VM) });
    let upid = api.start_guest(&guest).await.unwrap();
    assert_eq!(upid.node(), Some(NodeName::new(NODE)));
    let (mut early, mut up) = (None, false);
    for _ in 0..500 {
        match api.agent(&guest).await.unwrap() {
            AgentState::Up => {
                up = true;
                break;
            }
            AgentState::NotRunning(text) if text.contains("not ready yet") => {
                early.get_or_insert(run(&lab, "true").await);
            }
            AgentState::NotRunning(_) => {}
            AgentState::NotConfigured => panic!("it is configured"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(up, "it comes up");
    let fault = early.expect("it was asked before it was ready").unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient);
    assert!(fault.what.contains("not ready yet: the VM was started"), "{fault}");
    assert_eq!(run(&lab, "exit 7").await.unwrap().exit, 7);
    lab.with(|world, _| world.guest_mut(&id()).unwrap().agent_traits.frozen = true);
    let fault = run(&lab, "true").await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Transient);
    assert!(fault.what.contains("frozen"), "{fault}");
}

#[tokio::test]
async fn a_token_without_the_privilege_is_told_which_one() {
    let user = "maint@pve";
    let sees: &[&str] = &["VM.Audit", "VM.GuestAgent.Audit"];
    let token = Token { user: user.into(), id: "t".into(), secret: "0f0f".into(), acl: None };
    let world = builder(|vm| vm).user(NODE, user, Acl::of(&[("/vms", sees)])).token(NODE, token).build();
    let lab = Lab::start(world).await.unwrap();
    let api = client_as(&lab, (format!("{user}!t"), "0f0f".to_owned()));
    let fault = AgentExec::new(api).exec(&place(), "true", LIMIT).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Auth);
    assert!(fault.what.contains("(/vms/201, VM.GuestAgent.Unrestricted)"), "{fault}");
    let hint = fault.hint.unwrap();
    assert!(hint.contains("VM.GuestAgent.Unrestricted on /vms/201") && hint.contains("VM.Monitor"), "{hint}");
}

#[tokio::test]
async fn the_vm_that_is_started_anew_under_a_command_leaves_doubt() {
    let lab = lab(|vm| vm.agent_ready_ms(0)).await;
    let rebooted = async {
        while given(&lab) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lab.with(|world, now| world.reboot_machine(now, &id(), &Asker::root()));
    };
    let (outcome, ()) = tokio::join!(run(&lab, "sleep 15"), rebooted);
    let fault = outcome.unwrap_err();
    assert_eq!(fault.class, FaultClass::Ambiguous, "{fault}");
    assert!(fault.what.contains("was started anew"), "{fault}");
}

/// A way of SSH that nothing may take.
struct Closed;

#[async_trait]
impl Exec for Closed {
    async fn exec(&self, place: &Place, _: &str, _: ExecLimit) -> Result<ExecOutput, Fault> {
        Err(Fault::identity(format!("closed to {place:?}")))
    }
}

#[tokio::test]
async fn the_adapter_works_over_an_agent_as_over_ssh() {
    let lab = lab(|vm| vm.pending(3)).await;
    let adapter = Adapter::new(Ways { ssh: Closed, agent: exec(&lab) });
    let identity = adapter.identity(&place()).await.unwrap();
    assert_eq!(identity.hostname, "db");
    let facts = adapter.inspect(&place(), false).await.unwrap();
    assert_eq!((facts.id.as_str(), facts.pending.len()), ("debian", 3));
    let job = Job { name: "proxmaint-agent-r1".to_owned(), work: JobWork::Upgrade(PackageManager::Apt) };
    assert_eq!(adapter.start_job(&place(), &job).await.unwrap(), JobStart::Started);
    // The agent goes away under the job, as when its own package is upgraded, and comes back.
    lab.with(|world, now| world.guest_mut(&id()).unwrap().agent = Agent::From(now + 100));
    let mut state = adapter.job(&place(), &job.name).await;
    for _ in 0..1000 {
        if matches!(state, Ok(JobState::Finished { .. })) {
            break;
        }
        if let Err(fault) = &state {
            assert_eq!(fault.class, FaultClass::Transient, "{fault}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        state = adapter.job(&place(), &job.name).await;
    }
    assert!(matches!(state, Ok(JobState::Finished { exit: 0, .. })), "{state:?}");
    assert!(adapter.inspect(&place(), false).await.unwrap().pending.is_empty());
    adapter.collect_job(&place(), &job.name).await.unwrap();
    assert_eq!(adapter.job(&place(), &job.name).await.unwrap(), JobState::Absent);
    for elsewhere in [Place::Node, Place::Ct(GuestId(1)), Place::Ssh(GuestId(VM), "10.0.0.1".to_owned())] {
        let fault = adapter.identity(&elsewhere).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Identity, "{elsewhere:?} goes the other way");
    }
}

/// Runs nothing and keeps what it was to run.
#[derive(Default)]
struct Keeper(Mutex<Vec<String>>);

#[async_trait]
impl Exec for &Keeper {
    async fn exec(&self, _: &Place, script: &str, _: ExecLimit) -> Result<ExecOutput, Fault> {
        self.0.lock().unwrap().push(script.to_owned());
        Err(Fault::permanent("kept"))
    }
}

#[tokio::test]
async fn every_script_of_ours_goes_as_it_is() {
    use PackageManager::{Apk, Apt, Dnf, Pacman, Zypper};
    let keeper = Keeper::default();
    let adapter = Adapter::new(&keeper);
    let kept = |outcome: Result<(), Fault>| assert_eq!(outcome.unwrap_err().class, FaultClass::Permanent);
    kept(adapter.identity(&place()).await.map(drop));
    for refresh in [false, true] {
        kept(adapter.inspect(&place(), refresh).await.map(drop));
    }
    for manager in [Apt, Apk, Dnf, Zypper, Pacman] {
        let job = Job { name: "x".repeat(128), work: JobWork::Upgrade(manager) };
        kept(adapter.start_job(&place(), &job).await.map(drop));
        kept(adapter.packages_consistent(&place(), manager).await.map(drop));
    }
    kept(adapter.job(&place(), "x").await.map(drop));
    kept(adapter.collect_job(&place(), "x").await);
    let scripts = keeper.0.lock().unwrap();
    assert_eq!(scripts.len(), 15);
    let longest = scripts.iter().map(|script| serde_json::to_string(script).unwrap().len()).max().unwrap();
    // A compressed script needs base64 and gzip in the guest, which ours are not to depend on.
    assert!(longest < 48 * 1024, "a script of {longest} bytes comes near to what one request takes");
    println!("the longest script is {longest} bytes");
}
