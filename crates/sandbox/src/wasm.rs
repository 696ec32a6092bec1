//! WebAssembly commands (WASI preview 1 modules and preview 2 components) on wasmtime, made deterministic.
//!
//! Three things stop a program: fuel (counted per instruction, the same everywhere), the clock (checked whenever the
//! engine's epoch moves, and by a timer when the program waits in the host), and refused growth of memory or tables.
//! Each leaves its reason in [`Watch`] before it traps, so a trap is never mistaken for another.
//!
//! What still depends on the machine: how deep a program may recurse before its stack of one MiB is exhausted (frames are
//! as large as the compiler makes them), and whether a slow machine meets the clock before the fuel.

mod cache;
mod determinism;
mod output;
mod p1;
mod p2;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{Condvar, Mutex};
use tokio_util::sync::CancellationToken;
use wasmtime::{Engine, ResourceLimiter, Store, Trap, UpdateDeadline};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder, WasiCtxView, WasiView};

use self::cache::{Cache, Program};
use self::determinism::{SeededRandom, VirtualClock};
use self::output::Captured;
use crate::contract::{IN, OUT};
use crate::failure::host;
use crate::output::overflow;
use crate::run::{Config, Executed, Execution, Kind, Runtime, Stopped};
use crate::{FailureKind, Limits, Stream};

/// How often running programs are looked at.
const TICK: Duration = Duration::from_millis(10);
/// How often the size of a running program's output is added up.
const OUTPUT_CHECK: Duration = Duration::from_millis(50);
/// The program's own stack. Part of what a program can observe, so it is the same on every worker.
const STACK_BYTES: usize = 1 << 20;

/// Runs WebAssembly.
pub struct Wasm {
    cache: Arc<Cache>,
    ticker: Ticker,
}

impl Wasm {
    /// An engine with its cache of compiled programs under the configured directory.
    pub(crate) fn new(config: &Config) -> wasmtime::Result<Self> {
        let engine = engine()?;
        let cache = Cache::open(engine.clone(), config)?;
        Ok(Self { cache: Arc::new(cache), ticker: Ticker::start(engine)? })
    }
}

/// The one configuration that all workers share: two engines that differ here could disagree on a result.
fn engine() -> wasmtime::Result<Engine> {
    let mut config = wasmtime::Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(2 * STACK_BYTES);
    Engine::new(&config)
}

#[async_trait]
impl Runtime for Wasm {
    fn kind(&self) -> Kind {
        Kind::Wasm
    }

    fn name(&self) -> &'static str {
        "wasm"
    }

    async fn execute(
        &self,
        execution: Execution,
        cancel: CancellationToken,
    ) -> Result<Executed, Stopped> {
        let cache = self.cache.clone();
        let _ticking = self.ticker.hold();
        let handle = tokio::runtime::Handle::current();
        // Programs compute: they would starve the async threads.
        tokio::task::spawn_blocking(move || {
            let program = cache.program(&execution.program, execution.limits.program_bytes)?;
            handle.block_on(run(cache.engine(), &program, &execution, cancel))
        })
        .await
        .unwrap_or_else(|error| {
            Err(FailureKind::Host { doing: "running the program", detail: error.to_string() }
                .into())
        })
    }
}

/// Everything that belongs to one running program.
struct State {
    wasi: WasiP1Ctx,
    watch: Watch,
    clock: VirtualClock,
    listings: p2::Listings,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

/// Holds a program to its limits and remembers which one it broke.
struct Watch {
    limits: Limits,
    memory_bytes: usize,
    table_elements: usize,
    broken: Option<FailureKind>,
    /// None when so far away that no clock can say it.
    deadline: Option<Instant>,
    next_output_check: Instant,
    output: std::path::PathBuf,
    cancel: CancellationToken,
    stdout: Captured,
    stderr: Captured,
}

impl Watch {
    /// Looked at on every tick: whether the program may go on.
    fn may_go_on(&mut self) -> bool {
        let now = Instant::now();
        let broken = if self.cancel.is_cancelled() {
            Some(FailureKind::Cancelled)
        } else if self.deadline.is_some_and(|deadline| now >= deadline) {
            Some(FailureKind::OutOfTime { limit: self.limits.wall })
        } else if now >= self.next_output_check {
            self.next_output_check = now + OUTPUT_CHECK;
            overflow(&self.output, &self.limits)
        } else {
            None
        };
        self.broken = self.broken.take().or(broken);
        self.broken.is_none()
    }

    fn grown(&mut self, kind: FailureKind) -> wasmtime::Error {
        self.broken.get_or_insert(kind);
        wasmtime::Error::msg("a limit of the sandbox was reached")
    }
}

impl ResourceLimiter for Watch {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.limits.memory_bytes {
            // Refusing with -1 would let an allocation loop spin on; ending the program names the cause.
            return Err(
                self.grown(FailureKind::OutOfMemory { limit_bytes: self.limits.memory_bytes })
            );
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > self.limits.table_elements {
            return Err(
                self.grown(FailureKind::OutOfMemory { limit_bytes: self.limits.memory_bytes })
            );
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        100
    }

    fn tables(&self) -> usize {
        100
    }

    fn memories(&self) -> usize {
        100
    }
}

async fn run(
    engine: &Engine,
    program: &Program,
    execution: &Execution,
    cancel: CancellationToken,
) -> Result<Executed, Stopped> {
    let mut store = prepare(engine, execution, cancel.clone())?;
    let wall = execution.limits.wall;
    // Epochs stop a program that computes; this stops one that waits in the host.
    let ended = tokio::select! {
        ended = program.start(&mut store) => Some(ended),
        () = tokio::time::sleep(wall) => None,
        () = cancel.cancelled() => None,
    };
    let fuel_used = execution.limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
    let watch = &mut store.data_mut().watch;
    let broken = watch.broken.take();
    let verdict = match ended {
        None if cancel.is_cancelled() => Err(FailureKind::Cancelled),
        None => Err(FailureKind::OutOfTime { limit: wall }),
        Some(ended) => match broken.or_else(|| watch.overflowed()) {
            Some(broken) => Err(broken),
            None => ended.map_or_else(|error| exit_of(&error, &execution.limits), |()| Ok(0)),
        },
    };
    let (stdout, stderr) = (watch.stdout.take(), watch.stderr.take());
    match verdict {
        Ok(exit_code) => Ok(Executed { exit_code, stdout, stderr, fuel_used }),
        Err(kind) => Err(Stopped { kind, stdout, stderr }),
    }
}

impl Watch {
    fn overflowed(&self) -> Option<FailureKind> {
        let over = |captured: &Captured, what, limit: usize| {
            captured
                .overflowed()
                .then_some(FailureKind::OutputTooLarge { what, limit: limit as u64 })
        };
        over(&self.stdout, "stdout", self.limits.stdout_bytes)
            .or_else(|| over(&self.stderr, "stderr", self.limits.stderr_bytes))
    }
}

fn prepare(
    engine: &Engine,
    execution: &Execution,
    cancel: CancellationToken,
) -> Result<Store<State>, FailureKind> {
    let limits = &execution.limits;
    let stdout = Captured::new(limits.stdout_bytes, execution.ear.clone(), Stream::Stdout);
    let stderr = Captured::new(limits.stderr_bytes, execution.ear.clone(), Stream::Stderr);
    let clock = VirtualClock::starting_at(execution.clock);
    let wasi = wasi(execution, &stdout, &stderr, &clock).map_err(|error| FailureKind::Host {
        doing: "opening the program's directories",
        detail: error.to_string(),
    })?;
    let now = Instant::now();
    let watch = Watch {
        limits: limits.clone(),
        memory_bytes: 0,
        table_elements: 0,
        broken: None,
        deadline: now.checked_add(limits.wall),
        next_output_check: now + OUTPUT_CHECK,
        output: execution.output.clone(),
        cancel,
        stdout,
        stderr,
    };
    let mut store = Store::new(engine, State { wasi, watch, clock, listings: p2::Listings::new() });
    store.limiter(|state| &mut state.watch);
    store.set_fuel(limits.fuel).map_err(|error| FailureKind::Host {
        doing: "setting limits",
        detail: error.to_string(),
    })?;
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut context| {
        Ok(if context.data_mut().watch.may_go_on() {
            UpdateDeadline::Continue(1)
        } else {
            UpdateDeadline::Interrupt
        })
    });
    Ok(store)
}

fn wasi(
    execution: &Execution,
    stdout: &Captured,
    stderr: &Captured,
    clock: &VirtualClock,
) -> wasmtime::Result<WasiP1Ctx> {
    let mut builder = WasiCtxBuilder::new();
    let seed = SeededRandom::from(execution.seed);
    let variables: Vec<(&str, &str)> =
        execution.env.iter().map(|(name, value)| (&**name, value.as_str())).collect();
    builder
        .arg("app.wasm")
        .args(&execution.args)
        .envs(&variables)
        .stdout(stdout.clone())
        .stderr(stderr.clone())
        .wall_clock(clock.clone())
        .monotonic_clock(clock.clone())
        .secure_random(seed.stream(0))
        .insecure_random(seed.stream(1))
        .insecure_random_seed(seed.word())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        // Already on a thread that may block.
        .allow_blocking_current_thread(true)
        .preopened_dir(&execution.inputs, IN, FsPerms::ReadOnly)?
        .preopened_dir(&execution.output, OUT, FsPerms::ReadWrite)?;
    Ok(builder.build_p1())
}

/// What an ending with an error means: an exit code, or a failure.
fn exit_of(error: &wasmtime::Error, limits: &Limits) -> Result<i32, FailureKind> {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Ok(exit.0);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Err(FailureKind::OutOfFuel { limit: limits.fuel }),
        Some(trap) => Err(FailureKind::Trapped { reason: trap.to_string() }),
        None => Err(FailureKind::Trapped { reason: error.root_cause().to_string() }),
    }
}

/// Moves the engine's epoch while at least one program runs; an idle machine has no timer. A thread of its own, because
/// a spinning program must be stopped even when every async thread is busy.
struct Ticker {
    shared: Arc<Ticks>,
}

#[derive(Default)]
struct Ticks {
    state: Mutex<TickState>,
    changed: Condvar,
}

#[derive(Default)]
struct TickState {
    running: usize,
    closed: bool,
}

impl Ticker {
    fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::<Ticks>::default();
        let ticks = shared.clone();
        std::thread::Builder::new().name("sandbox-ticks".to_owned()).spawn(move || {
            let mut state = ticks.state.lock();
            while !state.closed {
                if state.running == 0 {
                    ticks.changed.wait(&mut state);
                } else if ticks.changed.wait_for(&mut state, TICK).timed_out() {
                    engine.increment_epoch();
                }
            }
        })?;
        Ok(Self { shared })
    }

    fn hold(&self) -> Ticking {
        self.shared.state.lock().running += 1;
        self.shared.changed.notify_one();
        Ticking { shared: self.shared.clone() }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

/// While this lives, epochs move.
struct Ticking {
    shared: Arc<Ticks>,
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.shared.state.lock().running -= 1;
    }
}

/// Reads a program's file, refusing one that is too large.
fn read_program(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FailureKind> {
    let bytes = std::fs::metadata(path).map_err(host("reading the program"))?.len();
    if bytes > max_bytes {
        return Err(FailureKind::ProgramTooLarge { bytes, limit: max_bytes });
    }
    std::fs::read(path).map_err(host("reading the program"))
}
