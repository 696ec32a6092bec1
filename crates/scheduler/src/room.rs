//! What a task takes up of a machine, and what a machine has room for. Numbers only: no clock, no choice.
//!
//! Needs follow from the category and from the deal's tag and are the same for all tasks of a deal. A worker's room is
//! what it announced less what its tasks take up. Who of several that have room is asked is for [`plan`](crate::plan).

use std::fmt;

use primitives::Tag;

/// A part of a machine, or all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Processor time, in thousandths of a processor.
    pub cpu_millis: u64,
    /// Memory.
    pub memory_bytes: u64,
    /// Disk.
    pub disk_bytes: u64,
    /// GPUs, whole ones.
    pub gpus: u32,
}

/// Processor time of a task: one processor.
pub const TASK_CPU_MILLIS: u64 = 1_000;
/// Memory of a task, as the sandbox limits it.
pub const TASK_MEMORY_BYTES: u64 = 512 << 20;
/// Disk of a task: what it may write and the archive that is made of it.
pub const TASK_DISK_BYTES: u64 = 2 * (256 << 20);

impl Room {
    /// What is told of no machine that does not say: all of it.
    pub const ENDLESS: Self =
        Self { cpu_millis: u64::MAX, memory_bytes: u64::MAX, disk_bytes: u64::MAX, gpus: u32::MAX };

    /// What a task under that tag takes up.
    pub fn of_task(tag: Tag) -> Self {
        Self {
            cpu_millis: TASK_CPU_MILLIS,
            memory_bytes: TASK_MEMORY_BYTES,
            disk_bytes: TASK_DISK_BYTES,
            gpus: u32::from(tag.contains(Tag::GPU)),
        }
    }

    /// What is left when that is taken away; never less than nothing.
    #[must_use]
    pub fn without(self, taken: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_sub(taken.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(taken.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_sub(taken.disk_bytes),
            gpus: self.gpus.saturating_sub(taken.gpus),
        }
    }

    /// Both together.
    #[must_use]
    pub fn with(self, more: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(more.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(more.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_add(more.disk_bytes),
            gpus: self.gpus.saturating_add(more.gpus),
        }
    }

    /// What is missing first to hold that; nothing if it fits.
    pub fn lacks(&self, need: &Self) -> Option<Lack> {
        if self.gpus < need.gpus {
            Some(Lack::Gpu)
        } else if self.memory_bytes < need.memory_bytes {
            Some(Lack::Memory { bytes: need.memory_bytes })
        } else if self.disk_bytes < need.disk_bytes {
            Some(Lack::Disk { bytes: need.disk_bytes })
        } else if self.cpu_millis < need.cpu_millis {
            Some(Lack::Processor)
        } else {
            None
        }
    }

    /// Whether that fits.
    pub fn holds(&self, need: &Self) -> bool {
        self.lacks(need).is_none()
    }
}

/// What a machine has too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// A processor.
    Processor,
    /// That much memory.
    Memory {
        /// How much is needed.
        bytes: u64,
    },
    /// That much disk.
    Disk {
        /// How much is needed.
        bytes: u64,
    },
    /// A GPU.
    Gpu,
}

/// As what follows "a worker with".
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processor => f.write_str("a processor"),
            Self::Memory { bytes } => write!(f, "{} of memory", shown(*bytes)),
            Self::Disk { bytes } => write!(f, "{} of disk", shown(*bytes)),
            Self::Gpu => f.write_str("a GPU"),
        }
    }
}

/// Whole GB where they are whole, else MB.
fn shown(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes.div_ceil(MIB) {
        mib if mib >= 1024 && mib.is_multiple_of(1024) => format!("{} GB", mib / 1024),
        mib => format!("{mib} MB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(room: (u64, u64, u64, u32), tag: Tag, expected: Option<&str>) {
        let (processors, mib, disk_mib, gpus) = room;
        let room = Room {
            cpu_millis: processors * 1_000,
            memory_bytes: mib << 20,
            disk_bytes: disk_mib << 20,
            gpus,
        };
        let lack = room.lacks(&Room::of_task(tag)).map(|lack| lack.to_string());
        assert_eq!(lack.as_deref(), expected);
    }

    #[test]
    fn the_rarest_thing_that_is_missing_is_named() {
        check((1, 512, 512, 0), Tag::NONE, None);
        check((0, 512, 512, 0), Tag::NONE, Some("a processor"));
        check((0, 511, 512, 0), Tag::NONE, Some("512 MB of memory"));
        check((8, 512, 100, 0), Tag::NONE, Some("512 MB of disk"));
        check((0, 0, 0, 0), Tag::GPU, Some("a GPU"));
        check((1, 512, 512, 1), Tag::GPU, None);
        assert_eq!(Lack::Memory { bytes: 8 << 30 }.to_string(), "8 GB of memory");
    }

    fn room() -> impl Strategy<Value = Room> {
        (0..9_000u64, 0..9u64 << 30, 0..9u64 << 30, 0..4u32).prop_map(
            |(cpu_millis, memory_bytes, disk_bytes, gpus)| Room {
                cpu_millis,
                memory_bytes,
                disk_bytes,
                gpus,
            },
        )
    }

    proptest! {
        #[test]
        fn what_fits_can_be_put_in_and_taken_out_again(room in room(), need in room()) {
            if room.holds(&need) {
                let left = room.without(need);
                prop_assert_eq!(left.with(need), room);
            } else {
                prop_assert!(room.lacks(&need).is_some());
            }
            prop_assert!(Room::ENDLESS.holds(&room));
        }
    }
}
