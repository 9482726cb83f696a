// Gradio (6.31) looks through all events of the page for each of its components, twice, through objects that tell
// others of each look. Here they are looked through once.
const tree = parts.AppTree?.prototype;
const known = new WeakMap();
if (tree?.find_attached_events) {
  tree.find_attached_events = function (component, events) {
    let found = known.get(events);
    if (found?.count !== events.length) {
      found = { count: events.length, byId: new Map() };
      for (const { targets } of events) {
        const firsts = new Map([...targets].reverse());  // of several of one component
        for (const [id, name] of firsts) {
          if (name) found.byId.set(id, [...(found.byId.get(id) ?? []), name]);
        }
      }
      known.set(events, found);
    }
    component.props.shared_props.attached_events = [...(found.byId.get(component.id) ?? [])];
    return component;
  };
}
