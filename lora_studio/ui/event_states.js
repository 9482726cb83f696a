// Gradio (6.31) tells each state of an event also to the components that the event reads, keeps them for good, and looks each
// of them up in the whole tree at all states to come. Only streams of sound and pictures show anything there.
for (const { LoadingStatus } of Object.values(parts)) {
  const resolve = LoadingStatus?.prototype.resolve_args;
  if (!resolve) continue;
  LoadingStatus.prototype.resolve_args = function (state) {
    const read = this.fn_inputs[state.fn_index];
    this.fn_inputs[state.fn_index] = [];
    try {
      return resolve.call(this, state);
    } finally {
      this.fn_inputs[state.fn_index] = read;
    }
  };
}
