//! Three questions to a model: does everything hold, is a property broken once a rule is off, and can a good end
//! always still be reached.

use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Debug;
use std::hash::Hash;

/// Bounds are larger when this environment variable is set (`CAS_MODEL=long`).
pub fn long() -> bool {
    std::env::var_os("CAS_MODEL").is_some_and(|value| value == "long")
}

/// A search that takes more steps than this was given too large bounds: it stops before it eats the machine's memory.
const MAX_STEPS: usize = 40_000_000;
const MAX_STEPS_LONG: usize = 4_000_000_000;

/// Searches all states: every `always` property holds in each, every `sometimes` property in at least one.
pub fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker =
        model.checker().finish_when(HasDiscoveries::AnyFailures).target_state_count(max_steps()).spawn_bfs().join();
    assert!(checker.state_count() < max_steps(), "{name}: larger than its bounds promise");
    println!("{name}: {} states, {} steps deep: safe", checker.unique_state_count(), checker.max_depth());
    let mut found = checker.discoveries();
    for property in checker.model().properties() {
        match (property.expectation, found.remove(property.name)) {
            (Expectation::Always, None) | (Expectation::Sometimes, Some(_)) => {}
            (Expectation::Sometimes, None) => panic!("{name}: never happens: {}", property.name),
            (_, Some(path)) => {
                let last = path.last_state().clone();
                panic!("{name}: broken: {}\n{}\n{last:#?}", property.name, listed(&path.into_actions()));
            }
            (Expectation::Eventually, None) => unreachable!("these models do not use it"),
        }
    }
}

/// Searches all states for this property alone: others may break.
pub fn keeps<M>(name: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    model.property(property); // Panics if the name is mistyped.
    let (states, path) = search(model, property);
    if let Some(actions) = path {
        panic!("{name}: broken: {property}\n{}", listed(&actions));
    }
    println!("{name}: {states} states: {property}");
}

/// Searches until the property is broken; there must be such a way.
pub fn breaks<M>(rule: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    model.property(property); // Panics if the name is mistyped.
    let (states, path) = search(model, property);
    let Some(actions) = path else {
        panic!("without the rule \"{rule}\" still safe in {states} states: is the rule needed, is the model blind?");
    };
    println!("without \"{rule}\": {property}: broken in {} steps ({states} states)", actions.len());
    if std::env::var_os("CAS_MODEL_PATHS").is_some() {
        println!("{}", listed(&actions));
    }
}

/// From every reachable state, a state with `goal` can still be reached: nothing is stuck for ever.
///
/// Stronger than "sometimes", and what a protocol that is safe because it does nothing fails.
pub fn always_possible<M>(name: &str, model: &M, what: &str, goal: fn(&M::State) -> bool)
where
    M: Model,
    M::State: Clone + Debug + Eq + Hash,
{
    match first_stuck(model, goal) {
        (states, None) => println!("{name}: {what}: always possible from {states} states"),
        (_, Some(stuck)) => panic!("{name}: {what} is no longer possible from\n{stuck:#?}"),
    }
}

/// There is a state from which `goal` can never be reached again.
pub fn gets_stuck<M>(rule: &str, model: &M, what: &str, goal: fn(&M::State) -> bool)
where
    M: Model,
    M::State: Clone + Debug + Eq + Hash,
{
    match first_stuck(model, goal) {
        (states, Some(_)) => println!("without \"{rule}\": {what} can become impossible ({states} states)"),
        (states, None) => panic!("without the rule \"{rule}\" {what} is still always possible ({states} states)"),
    }
}

/// The number of states seen, and the way to break the property if there is one.
fn search<M>(model: M, property: &'static str) -> (usize, Option<Vec<M::Action>>)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let finish = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().finish_when(finish).target_state_count(max_steps()).spawn_bfs().join();
    let path = checker.discoveries().remove(property).map(|path| path.into_actions());
    assert!(path.is_some() || checker.state_count() < max_steps(), "larger than its bounds promise");
    (checker.unique_state_count(), path)
}

fn max_steps() -> usize {
    if long() { MAX_STEPS_LONG } else { MAX_STEPS }
}

fn first_stuck<M>(model: &M, goal: fn(&M::State) -> bool) -> (usize, Option<M::State>)
where
    M: Model,
    M::State: Clone + Eq + Hash,
{
    let mut number: HashMap<M::State, u32> = HashMap::new();
    let mut states = model.init_states();
    number.extend(states.iter().cloned().zip(0..));
    let mut edges: Vec<(u32, u32)> = Vec::new(); // (to, from)
    let mut at = 0;
    while at < states.len() {
        for next in model.next_states(&states[at]) {
            let known = number.len() as u32;
            let to = match number.entry(next) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    states.push(entry.key().clone());
                    *entry.insert(known)
                }
            };
            edges.push((to, at as u32));
        }
        at += 1;
    }
    edges.sort_unstable();
    let mut good: Vec<bool> = states.iter().map(goal).collect();
    let mut todo: Vec<u32> = (0..states.len() as u32).filter(|&i| good[i as usize]).collect();
    while let Some(to) = todo.pop() {
        let first = edges.partition_point(|edge| edge.0 < to);
        for &(_, from) in edges[first..].iter().take_while(|edge| edge.0 == to) {
            if !std::mem::replace(&mut good[from as usize], true) {
                todo.push(from);
            }
        }
    }
    (states.len(), good.iter().position(|good| !good).map(|i| states[i].clone()))
}

fn listed<A: Debug>(actions: &[A]) -> String {
    actions.iter().enumerate().map(|(i, action)| format!("  {:>2}. {action:?}\n", i + 1)).collect()
}
