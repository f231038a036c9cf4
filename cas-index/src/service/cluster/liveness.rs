//! Time passes: who is silent for too long is declared down, who is back is up, and moves take their next steps.

use super::{Row, known};
use crate::cluster::liveness::{Action, Known};
use crate::cluster::planner::Alive;
use crate::cluster::{self, Command};
use crate::service::Index;
use crate::state::Meta;
use cas_net::Result;
use cas_net::cluster::Health;
use std::collections::HashSet;

impl Index {
    /// Lets time pass: `now_ns` of a clock that nobody sets. Declares nodes down or back, and takes the next steps of
    /// moves. Answers what has changed with nodes, for people.
    pub fn tick(&self, now_ns: i64) -> Result<Vec<Action>> {
        let planning = self.desk.plan_alone();
        let rows = cluster::nodes(&*self.tables())?;
        let time_ns = self.now_ns();
        let watched: Vec<Known> = rows.iter().map(|row| known(row, time_ns)).collect();
        let actions = {
            let mut desk = self.desk.open();
            desk.now_ns = now_ns;
            desk.watch.tick(now_ns, &watched)
        };
        let mut returned = HashSet::new();
        for action in &actions {
            let (node, down) = match action {
                Action::Down(node) => (node, true),
                Action::Up(node) => (node, false),
                _ => continue,
            };
            self.desk.open().has_planned = false;
            self.command(Command::Down { node: node.0, down })?;
            let number = rows.iter().find(|row| row.0 == *node).map(|row| row.1.number);
            returned.extend(number.filter(|_| !down));
        }
        // Also of an index that died between a declaration and its plan. Steps go on by the old table if there is no new one.
        let has_planned = self.desk.open().has_planned;
        let planned = if has_planned { Ok(()) } else { self.replan(&returned) };
        drop(planning);
        let commands = {
            let tables = self.tables();
            let (meta, alive) = (Meta::load(&*tables)?, self.alive(&cluster::nodes(&*tables)?, time_ns));
            self.desk.open().planner.step(&*tables, &meta, &alive, now_ns)?
        };
        for command in commands {
            self.command(command)?;
        }
        planned.map(|()| actions)
    }

    /// What an operator says about nodes that vanished together: they are really gone, heal.
    pub fn accept_losses(&self) {
        self.desk.open().watch.accept();
    }

    pub(super) fn alive(&self, rows: &[Row], time_ns: i64) -> Alive {
        let desk = self.desk.open();
        let is_up = |row: &&Row| desk.watch.health(&known(row, time_ns)) == Health::Up;
        let up = rows.iter().filter(is_up).map(|row| row.1.number).collect();
        Alive { up, suspended: desk.watch.is_suspended() }
    }
}
