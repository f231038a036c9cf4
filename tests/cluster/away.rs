//! With the index away, who has a ticket and has seen the layout goes on reading; when it is back, everything goes on.

use crate::person::Person;
use crate::world::{World, seed};

#[test]
fn pulls_go_on_while_the_index_is_away_and_pushes_when_it_is_back() {
    let mut world = World::with(3, "r3");
    let mut person = Person::new(&world);
    person.plant(seed(), 2 << 20);
    let expected = person.push("home");
    world.rest();
    let opened = person.open("home");
    drop(world.index.take());
    person.verify_opened(&opened, &expected);
    world.nodes[1].kill();
    person.verify_opened(&opened, &expected);
    world.start_index();
    world.start(1);
    person.write("after", b"it is back");
    let second = person.push("home");
    world.rest();
    world.check();
    person.verify("home", &second);
}
