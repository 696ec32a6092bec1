//! Sums over many simulations, and how certain they are.

use std::collections::BTreeMap;

use crate::outcome::{Outcome, Role};
use crate::scenario::Strategy;

/// The deviations that 95 % of a bell lie within.
const TWO_SIDED_95: f64 = 1.96;

/// A mean per task over simulations, which are independent of one another while their tasks are not.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rate {
    amount: f64,
    tasks: f64,
    amount_squared: f64,
    both: f64,
    tasks_squared: f64,
}

impl Rate {
    /// Adds a simulation where so many tasks brought that much together.
    pub fn add(&mut self, amount: f64, tasks: f64) {
        self.amount += amount;
        self.tasks += tasks;
        self.amount_squared += amount * amount;
        self.both += amount * tasks;
        self.tasks_squared += tasks * tasks;
    }

    /// Adds what another has summed up.
    pub fn join(&mut self, other: &Self) {
        self.amount += other.amount;
        self.tasks += other.tasks;
        self.amount_squared += other.amount_squared;
        self.both += other.both;
        self.tasks_squared += other.tasks_squared;
    }

    /// Tasks in all.
    pub fn tasks(&self) -> f64 {
        self.tasks
    }

    /// The mean per task; 0 without tasks.
    pub fn mean(&self) -> f64 {
        if self.tasks > 0.0 { self.amount / self.tasks } else { 0.0 }
    }

    /// Half the width of the 95 % confidence interval around the mean.
    pub fn margin(&self) -> f64 {
        if self.tasks <= 0.0 {
            return f64::INFINITY;
        }
        let mean = self.mean();
        let squares =
            self.amount_squared - 2.0 * mean * self.both + mean * mean * self.tasks_squared;
        TWO_SIDED_95 * squares.max(0.0).sqrt() / self.tasks
    }
}

/// What many simulations brought.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// Simulations.
    pub seeds: u64,
    /// Tasks that were bought.
    pub tasks: u64,
    /// Tasks with a wrong result.
    pub wrong: u64,
    /// Tasks that were refunded.
    pub refunded: u64,
    /// Times that workers were given a task.
    pub runs: u64,
    /// Contributions of honest workers that lost their stake.
    pub honest_slashed: u64,
    /// Wrong results per task with any result.
    pub wrong_rate: Rate,
    /// Runs per task.
    pub runs_rate: Rate,
    /// Gain per task in nRLC, by role.
    pub gains: BTreeMap<Role, Rate>,
    /// What a worker that cheats gains beyond an honest one of the same market, per task that the honest one takes, in nRLC.
    pub edge: Rate,
}

impl Tally {
    /// Adds a simulation.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.tasks += u64::from(outcome.tasks());
        self.wrong += u64::from(outcome.wrong);
        self.refunded += u64::from(outcome.refunded);
        self.runs += u64::from(outcome.runs);
        self.honest_slashed += u64::from(outcome.honest_slashed);
        let decided = f64::from(outcome.right + outcome.wrong);
        self.wrong_rate.add(f64::from(outcome.wrong), decided);
        self.runs_rate.add(f64::from(outcome.runs), f64::from(outcome.tasks()));
        self.add_edge(outcome);
        for (place, gain) in outcome.gains.iter().enumerate() {
            // Those of one role in one simulation share its luck, so they are one sample.
            if outcome.gains[..place].iter().any(|it| it.role == gain.role) {
                continue;
            }
            let same = outcome.gains[place..].iter().filter(|it| it.role == gain.role);
            let (net, tasks) =
                same.fold((0i64, 0u32), |(net, tasks), it| (net + it.net, tasks + it.tasks));
            #[expect(clippy::cast_precision_loss, reason = "a table shows three digits")]
            self.gains.entry(gain.role).or_default().add(net as f64, f64::from(tasks));
        }
    }

    /// A line for people: what was checked all the while, and over how much.
    pub fn what_held(&self) -> String {
        let Self { seeds, tasks, wrong, refunded, .. } = self;
        format!(
            "money, liveness, safety and fairness held in {seeds} markets with {tasks} tasks: {wrong} wrong results that \
             the formula allows, {refunded} refunds"
        )
    }

    fn add_edge(&mut self, outcome: &Outcome) {
        let (mut honest, mut cheats) = ([0.0; 3], [0.0; 3]);
        for gain in &outcome.gains {
            let Role::Worker(strategy) = gain.role else { continue };
            let sums = if strategy == Strategy::Honest { &mut honest } else { &mut cheats };
            #[expect(clippy::cast_precision_loss, reason = "a table shows three digits")]
            let one = [gain.net as f64, f64::from(gain.tasks), 1.0];
            for (sum, one) in sums.iter_mut().zip(one) {
                *sum += one;
            }
        }
        if honest[2] > 0.0 && cheats[2] > 0.0 {
            self.edge.add(cheats[0] / cheats[2] - honest[0] / honest[2], honest[1] / honest[2]);
        }
    }

    /// Adds what another has summed up.
    pub fn join(&mut self, other: &Self) {
        self.edge.join(&other.edge);
        self.seeds += other.seeds;
        self.tasks += other.tasks;
        self.wrong += other.wrong;
        self.refunded += other.refunded;
        self.runs += other.runs;
        self.honest_slashed += other.honest_slashed;
        self.wrong_rate.join(&other.wrong_rate);
        self.runs_rate.join(&other.runs_rate);
        for (role, rate) in &other.gains {
            self.gains.entry(*role).or_default().join(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_within_its_margin() {
        let mut chance = crate::chance::Chance::new(3, 0);
        let mut rate = Rate::default();
        for _ in 0..10_000 {
            let tasks = f64::from(u32::try_from(chance.between(1, 5)).unwrap_or(1));
            let bad = if chance.happens(100_000) { tasks } else { 0.0 };
            rate.add(bad, tasks);
        }
        assert!((rate.mean() - 0.1).abs() < rate.margin(), "{} ± {}", rate.mean(), rate.margin());
        assert!(rate.margin() < 0.01);
        assert_eq!(Rate::default().mean(), 0.0);
    }
}
