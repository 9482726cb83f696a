// Gradio's lists (6.31) say "input" once more when they are left, with whatever was chosen long before: kept settings were
// filled in again, over what had been typed since. A list that is left says so only of a value that nobody has heard of,
// or of one that Enter chose, whose only word that is.
const heard = new WeakMap();
let lastKey = '';
window.addEventListener('keydown', (event) => { lastKey = event.key; }, true);
for (const part of Object.values(parts)) {
  const say = part?.prototype?.watch_for_change && part.prototype.dispatch;
  if (!say) continue;
  part.prototype.dispatch = function (name, ...facts) {
    if ((name === 'focus' || name === 'input') && this.props?.choices) {
      const value = JSON.stringify(this.props.value), isLeft = name === 'input' && window.event?.type === 'blur';
      if (isLeft && lastKey !== 'Enter' && heard.get(this) === value) return undefined;
      heard.set(this, value);
      lastKey = '';
    }
    return say.call(this, name, ...facts);
  };
}
