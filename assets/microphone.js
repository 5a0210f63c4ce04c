// The microphone as pieces of 16-bit samples. Nothing of the browser changes the sound: no echo or noise is taken out and
// no level set, so that the recording is what the microphone gave.
window.asrMicrophone = (() => {
  const HIGHEST_RATE = 48000; // Hz; the server takes no more
  const RAW = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  let stream = null, context = null, node = null, source = null, flushed = null;

  const contextAt = (rate) => {
    const own = rate ? new AudioContext({ sampleRate: rate }) : new AudioContext();
    if (own.sampleRate <= HIGHEST_RATE) return own;
    own.close();
    return new AudioContext({ sampleRate: HIGHEST_RATE });
  };

  // Opens `device` (empty: the browser's choice) at `rate` (0: its own) and returns the rate. `piece` gets Int16Arrays,
  // `peak` the level from 0 to 1, `lost` is called when the device goes away. Throws a DOMException.
  const open = async (device, rate, { piece, peak, lost }) => {
    if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("no secure context", "SecurityError");
    stream = await navigator.mediaDevices.getUserMedia({ audio: { ...RAW, ...(device && { deviceId: { exact: device } }) } });
    try {
      // The microphone's own rate: a browser's default is that of its loudspeaker.
      context = contextAt(rate || stream.getAudioTracks()[0].getSettings().sampleRate);
      await context.resume();
      await context.audioWorklet.addModule("record-worklet.js");
      node = new AudioWorkletNode(context, "asr-recorder", { channelCount: 1, channelCountMode: "explicit" });
      node.port.onmessage = ({ data }) => {
        if (data.samples) piece(data.samples);
        else if (data.flushed) flushed?.();
        else peak(data.peak);
      };
      source = context.createMediaStreamSource(stream);
      source.connect(node).connect(context.destination); // the node gives silence; unconnected it would not run
      stream.getAudioTracks()[0].addEventListener("ended", lost);
      return context.sampleRate;
    } catch (error) {
      close();
      throw error;
    }
  };

  const collect = (on) => { // resolves after the last piece when it is switched off
    if (!node) return Promise.resolve();
    const done = on ? Promise.resolve() : new Promise((resolve) => { flushed = resolve; setTimeout(resolve, 1000); });
    node.port.postMessage(on);
    return done;
  };

  const close = () => {
    for (const track of stream?.getTracks() || []) track.stop();
    context?.close();
    stream = context = node = source = null;
  };

  const devices = async () => { // none before the permission: they have no names then
    const all = (await navigator.mediaDevices?.enumerateDevices?.()) || [];
    return all.filter((device) => device.kind === "audioinput" && device.deviceId && device.label);
  };

  return { open, collect, close, devices };
})();
