//! Sessions that wait for their enclave.
//!
//! Held in memory only, for a short time and for one release. A worker that asks again while its session waits gets the
//! same one with fresh content, so asking fills nothing up; how often a worker may be given the sessions of one task is
//! limited, so that a signature that was seen once does not open the door for ever.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use parking_lot::Mutex;
use primitives::TaskId;
use rand::Rng;
use rand::distr::Alphanumeric;
use wire::sms::Session;

/// How long a session waits.
const LIFETIME: Duration = Duration::from_secs(600);
/// Sessions that wait, at most; the oldest go first.
const WAITING_MAX: usize = 4_096;
/// Releases to one worker for one task.
const RELEASES_MAX: u32 = 8;
/// Workers and tasks whose releases are counted.
const COUNTED_MAX: usize = 65_536;

/// For whom a session is.
pub(crate) type Holder = (TaskId, Address);

#[derive(Default)]
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: HashMap<String, Waiting>,
    id_of: HashMap<Holder, String>,
    /// Oldest first; what was released stays in it until its turn.
    by_age: VecDeque<(Instant, String)>,
    releases: HashMap<Holder, u32>,
    counted_by_age: VecDeque<Holder>,
}

struct Waiting {
    holder: Holder,
    session: Session,
}

impl Sessions {
    /// Whether the holder may be given (another) session.
    pub(crate) fn may_open(&self, holder: Holder) -> bool {
        self.inner.lock().releases.get(&holder).is_none_or(|count| *count < RELEASES_MAX)
    }

    /// Holds a session that `make` puts together for an id; gives back the id.
    pub(crate) fn hold(
        &self,
        holder: Holder,
        now: Instant,
        make: impl FnOnce(String) -> Session,
    ) -> String {
        let mut inner = self.inner.lock();
        inner.expire(now);
        let known = inner.id_of.get(&holder).cloned();
        let id = known.clone().unwrap_or_else(|| fresh_id(holder.0));
        let session = make(id.clone());
        inner.waiting.insert(id.clone(), Waiting { holder, session });
        if known.is_none() {
            inner.id_of.insert(holder, id.clone());
            inner.by_age.push_back((now, id.clone()));
        }
        while inner.by_age.len() > WAITING_MAX {
            inner.drop_oldest();
        }
        id
    }

    /// Whose session that is, if it waits.
    pub(crate) fn holder(&self, id: &str, now: Instant) -> Option<Holder> {
        let mut inner = self.inner.lock();
        inner.expire(now);
        inner.waiting.get(id).map(|waiting| waiting.holder)
    }

    /// Takes a session out; it can be taken once.
    pub(crate) fn take(&self, id: &str) -> Option<Session> {
        let mut inner = self.inner.lock();
        let waiting = inner.waiting.remove(id)?;
        inner.id_of.remove(&waiting.holder);
        inner.count_release(waiting.holder);
        Some(waiting.session)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.inner.lock().waiting.len()
    }
}

impl Inner {
    fn expire(&mut self, now: Instant) {
        while self.by_age.front().is_some_and(|(held, _)| now.duration_since(*held) > LIFETIME) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, id)) = self.by_age.pop_front() else { return };
        if let Some(waiting) = self.waiting.remove(&id) {
            self.id_of.remove(&waiting.holder);
        }
    }

    fn count_release(&mut self, holder: Holder) {
        let count = self.releases.entry(holder).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.counted_by_age.push_back(holder);
        }
        while self.counted_by_age.len() > COUNTED_MAX {
            if let Some(oldest) = self.counted_by_age.pop_front() {
                self.releases.remove(&oldest);
            }
        }
    }
}

/// Ten letters and digits by lot, then the task: the form that official workers know.
fn fresh_id(task: TaskId) -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(10).map(char::from);
    random.chain(format!("0000{task}").chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    fn holder(number: u8) -> Holder {
        (TaskId(B256::repeat_byte(number)), Address::repeat_byte(1))
    }

    fn empty(name: String) -> Session {
        Session { name, services: Vec::new() }
    }

    #[test]
    fn a_session_is_held_once_for_each_worker_and_taken_once() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let id = sessions.hold(holder(1), now, empty);
        assert_eq!(id.len(), 10 + 4 + 66);
        assert_eq!(sessions.hold(holder(1), now, empty), id, "the same while it waits");
        assert_eq!(sessions.holder(&id, now), Some(holder(1)));
        assert_eq!(sessions.take(&id).map(|session| session.name), Some(id.clone()));
        assert!(sessions.take(&id).is_none() && sessions.holder(&id, now).is_none());
        assert_ne!(sessions.hold(holder(1), now, empty), id);
    }

    #[test]
    fn sessions_expire_and_their_number_is_bounded() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let id = sessions.hold(holder(1), now, empty);
        assert_eq!(sessions.holder(&id, now + LIFETIME * 2), None);
        for number in 0..WAITING_MAX + 10 {
            let task = TaskId(B256::left_padding_from(&number.to_be_bytes()));
            sessions.hold((task, Address::ZERO), now, empty);
        }
        assert_eq!(sessions.len(), WAITING_MAX);
    }

    #[test]
    fn a_worker_is_given_the_sessions_of_a_task_a_few_times() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        for _ in 0..RELEASES_MAX {
            assert!(sessions.may_open(holder(1)));
            let id = sessions.hold(holder(1), now, empty);
            assert!(sessions.take(&id).is_some());
        }
        assert!(!sessions.may_open(holder(1)));
        assert!(sessions.may_open(holder(2)));
    }
}
