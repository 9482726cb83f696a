// Gradio (6.31) tells each state of an event also to the components that the event reads, keeps them for good, and looks each
// of them up in the whole tree at all states to come. Only streams of sound and pictures show anything there.
for (const part of Object.values(parts)) {
  const states = part?.LoadingStatus?.prototype, resolve = states?.resolve_args;
  if (!resolve) continue;
  states.resolve_args = function (state) {
    const read = this.fn_inputs[state.fn_index];
    this.fn_inputs[state.fn_index] = [];
    try {
      return resolve.call(this, state);
    } finally {
      this.fn_inputs[state.fn_index] = read;
    }
  };
}
