//! Simulated schedules: seconds go by, some nodes beat, some do not.

use super::*;

const SECOND: i64 = 1_000_000_000;

/// Nodes that beat every two seconds unless they are silent; what was declared is remembered.
struct World {
    watch: Watch,
    nodes: Vec<Known>,
    silent: Vec<usize>,
    now_ns: i64,
}

impl World {
    fn of(count: u8) -> Self {
        let known = |n| Known { node: PublicKey([n; 32]), down: false, in_maintenance: false };
        let nodes = (0..count).map(known).collect();
        Self { watch: Watch::new(Settings::default()), nodes, silent: Vec::new(), now_ns: 0 }
    }

    /// Lets seconds go by; answers what happened, with the second.
    fn run(&mut self, seconds: i64) -> Vec<(i64, Action)> {
        let mut happened = Vec::new();
        for _ in 0..seconds {
            self.now_ns += SECOND;
            for n in 0..self.nodes.len() {
                if self.now_ns % (2 * SECOND) == 0 && !self.silent.contains(&n) {
                    self.watch.heard(self.nodes[n].node, self.now_ns);
                }
            }
            for action in self.watch.tick(self.now_ns, &self.nodes) {
                let mut declare =
                    |node, down| self.nodes.iter_mut().filter(|k| k.node == node).for_each(|k| k.down = down);
                match action {
                    Action::Down(node) => declare(node, true),
                    Action::Up(node) => declare(node, false),
                    _ => {}
                }
                happened.push((self.now_ns / SECOND, action));
            }
        }
        happened
    }

    fn node(&self, n: usize) -> PublicKey {
        self.nodes[n].node
    }
}

#[test]
fn silence_is_suspect_after_ten_seconds_and_down_after_ten_minutes() {
    let mut world = World::of(5);
    assert_eq!(world.run(100), []);
    world.silent = vec![2];
    let node = world.node(2);
    assert_eq!(world.run(300), [(110, Action::Suspect(node))]);
    assert_eq!(world.run(400), [(700, Action::Down(node))]);
    assert_eq!(world.watch.health(&world.nodes[2]), Health::Down);
    world.silent.clear();
    assert_eq!(world.run(10), [(802, Action::Up(node))]);
    assert_eq!(world.watch.health(&world.nodes[2]), Health::Up);
}

#[test]
fn a_short_silence_declares_nothing() {
    let mut world = World::of(5);
    world.run(100);
    world.silent = vec![2];
    world.run(60);
    world.silent.clear();
    assert_eq!(world.run(60), [(162, Action::Trust(world.node(2)))]);
}

#[test]
fn many_that_vanish_together_are_not_declared_down() {
    let mut world = World::of(8);
    world.run(100);
    world.silent = vec![0, 1, 2];
    let happened = world.run(3600);
    assert!(happened.contains(&(110, Action::Suspend { silent: 3, of: 8 })), "{happened:?}");
    assert!(!happened.iter().any(|(_, action)| matches!(action, Action::Down(_))), "{happened:?}");
    assert!(world.watch.is_suspended() && world.watch.is_gone(&world.nodes[0], world.now_ns));
    world.silent = vec![0];
    let happened = world.run(30);
    assert!(happened.contains(&(3702, Action::Resume)), "{happened:?}");
    assert!(happened.contains(&(3702, Action::Down(world.node(0)))), "one alone is down at once: {happened:?}");
}

#[test]
fn three_of_twelve_are_no_more_than_a_quarter_and_are_healed() {
    let mut world = World::of(12);
    world.run(100);
    world.silent = vec![0, 1, 2];
    let downs = world.run(700).into_iter().filter(|(_, action)| matches!(action, Action::Down(_))).count();
    assert_eq!(downs, 3);
    assert!(!world.watch.is_suspended());
}

#[test]
fn those_that_vanish_one_after_the_other_are_healed() {
    let mut world = World::of(6);
    world.run(100);
    for n in 0..3 {
        world.silent.push(n);
        let happened = world.run(700);
        assert!(happened.iter().any(|(_, action)| *action == Action::Down(world.node(n))), "{happened:?}");
    }
    assert!(!world.watch.is_suspended());
}

#[test]
fn an_operator_can_say_that_they_are_really_gone() {
    let mut world = World::of(4);
    world.run(100);
    world.silent = vec![0, 1, 2];
    world.run(1000);
    assert!(world.watch.is_suspended());
    world.watch.accept();
    let happened = world.run(2);
    assert_eq!(happened.iter().filter(|(_, action)| matches!(action, Action::Down(_))).count(), 3, "{happened:?}");
    assert!(!world.watch.is_suspended());
}

#[test]
fn maintenance_is_no_failure() {
    let mut world = World::of(4);
    world.run(100);
    world.silent = vec![0, 1, 2];
    world.nodes.iter_mut().take(3).for_each(|known| known.in_maintenance = true);
    let happened = world.run(3600);
    assert!(happened.iter().all(|(_, action)| matches!(action, Action::Suspect(_))), "{happened:?}");
    world.nodes.iter_mut().for_each(|known| known.in_maintenance = false);
    let happened = world.run(1);
    assert!(happened.iter().any(|(_, action)| matches!(action, Action::Suspend { .. })), "{happened:?}");
}

#[test]
fn after_a_restart_everybody_has_a_grace_and_nobody_is_back_unheard() {
    let mut world = World::of(4);
    world.nodes[1].down = true;
    world.silent = vec![0, 1];
    let happened = world.run(599);
    assert_eq!(happened, [(11, Action::Suspect(world.node(0))), (11, Action::Suspect(world.node(1)))]);
    let happened = world.run(60);
    assert_eq!(happened, [(601, Action::Down(world.node(0)))]);
}
