//! The arithmetic: from a machine and the work that comes to it to a month's income and costs. Nothing is asked or assumed
//! here.

/// Hours of a month.
const HOURS: f64 = 730.0;

/// What a machine is and costs. Money is the operator's own, such as euros.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Machine {
    /// Runs at once.
    pub(super) slots: f64,
    /// Drawn while all of it computes, and while none does, in watts.
    pub(super) watts: f64,
    pub(super) idle_watts: f64,
    pub(super) kwh_price: f64,
    pub(super) machine_price: f64,
    /// What an RLC and a coin of the chain are worth.
    pub(super) rlc_price: f64,
    pub(super) coin_price: f64,
}

/// The work that comes to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Work {
    /// Runs that come in an hour, if the machine can take them all.
    pub(super) runs_per_hour: f64,
    pub(super) run_minutes: f64,
    /// Of those that it takes, the share that it does not finish.
    pub(super) failures: f64,
    /// Paid for a run that was finished, stakes lost taken off, in RLC.
    pub(super) paid_rlc: f64,
    /// Locked for a run, in RLC.
    pub(super) stake_rlc: f64,
    /// Spent on the transactions of a run, in the chain's coins.
    pub(super) gas_coins: f64,
}

/// Figures for a month.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) runs: f64,
    /// The share of the time that it computes.
    pub(super) busy: f64,
    pub(super) income_rlc: f64,
    pub(super) income: f64,
    pub(super) electricity: f64,
    pub(super) gas: f64,
    pub(super) profit: f64,
    /// Locked when all of it computes, in RLC.
    pub(super) stake_rlc: f64,
    /// Until the profit has paid for the machine; nothing if it never does.
    pub(super) pay_back_months: Option<f64>,
}

/// How many runs an hour a machine has room for.
pub(super) fn capacity(slots: f64, run_minutes: f64) -> f64 {
    slots * 60.0 / run_minutes
}

pub(super) fn estimate(machine: &Machine, work: &Work) -> Estimate {
    let capacity = capacity(machine.slots, work.run_minutes);
    let per_hour = work.runs_per_hour.min(capacity);
    let busy = if capacity > 0.0 { per_hour / capacity } else { 0.0 };
    let runs = per_hour * HOURS;
    let finished = runs * (1.0 - work.failures);
    let income_rlc = finished * work.paid_rlc;
    let income = income_rlc * machine.rlc_price;
    let watts = machine.idle_watts + (machine.watts - machine.idle_watts) * busy;
    let electricity = watts / 1e3 * HOURS * machine.kwh_price;
    // What fails after its contribution has paid for its transactions too.
    let gas = runs * work.gas_coins * machine.coin_price;
    let profit = income - electricity - gas;
    let pay_back_months = (profit > 0.0).then(|| machine.machine_price / profit);
    let stake_rlc = machine.slots * work.stake_rlc;
    Estimate {
        runs,
        busy,
        income_rlc,
        income,
        electricity,
        gas,
        profit,
        stake_rlc,
        pay_back_months,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        slots: 2.0,
        watts: 100.0,
        idle_watts: 20.0,
        kwh_price: 0.2,
        machine_price: 73.0,
        rlc_price: 2.0,
        coin_price: 1_000.0,
    };
    const WORK: Work = Work {
        runs_per_hour: 6.0,
        run_minutes: 10.0,
        failures: 0.1,
        paid_rlc: 0.1,
        stake_rlc: 0.03,
        gas_coins: 1e-5,
    };

    fn check(machine: Machine, work: Work, figure: impl Fn(&Estimate) -> f64, expected: f64) {
        let it = estimate(&machine, &work);
        assert!((figure(&it) - expected).abs() < 1e-9, "{expected} expected: {it:?}");
    }

    #[test]
    fn a_month_is_counted_right() {
        check(MACHINE, WORK, |it| it.runs, 4_380.0);
        check(MACHINE, WORK, |it| it.busy, 0.5);
        check(MACHINE, WORK, |it| it.income_rlc, 394.2);
        check(MACHINE, WORK, |it| it.income, 788.4);
        check(MACHINE, WORK, |it| it.electricity, 8.76);
        check(MACHINE, WORK, |it| it.gas, 43.8);
        check(MACHINE, WORK, |it| it.profit, 735.84);
        check(MACHINE, WORK, |it| it.stake_rlc, 0.06);
        check(MACHINE, WORK, |it| it.pay_back_months.unwrap_or(-1.0), 73.0 / 735.84);
    }

    #[test]
    fn no_machine_does_more_than_it_can() {
        let flood = Work { runs_per_hour: 1e6, ..WORK };
        check(MACHINE, flood, |it| it.busy, 1.0);
        check(MACHINE, flood, |it| it.runs, 12.0 * HOURS);
        let none = Machine { slots: 0.0, ..MACHINE };
        check(none, WORK, |it| it.runs, 0.0);
        check(none, WORK, |it| it.electricity, 2.92);
    }

    #[test]
    fn a_machine_without_work_costs_and_never_pays_back() {
        let idle = Work { runs_per_hour: 0.0, ..WORK };
        check(MACHINE, idle, |it| it.profit, -2.92);
        assert_eq!(estimate(&MACHINE, &idle).pay_back_months, None);
        let dear = Machine { coin_price: 1e9, ..MACHINE };
        assert_eq!(estimate(&dear, &WORK).pay_back_months, None);
    }
}
