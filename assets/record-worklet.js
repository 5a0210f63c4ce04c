// Runs in the browser's audio thread: makes 16-bit samples of the microphone's and hands them over in pieces of a
// quarter of a second, with the peak of each twentieth of a second for the level meter.
registerProcessor("asr-recorder", class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(sampleRate / 4));
    this.filled = 0;
    this.collecting = false;
    this.peak = 0;
    this.heard = 0; // samples since the last peak was told
    this.port.onmessage = ({ data }) => {
      this.collecting = data;
      if (!data) {
        this.handOver();
        this.port.postMessage({ flushed: true });
      }
    };
  }

  handOver() {
    if (!this.filled) return;
    const samples = this.piece.slice(0, this.filled);
    this.filled = 0;
    this.port.postMessage({ samples }, [samples.buffer]);
  }

  process([[channel]]) {
    if (!channel) return true;
    for (const value of channel) {
      this.peak = Math.max(this.peak, Math.abs(value));
      if (!this.collecting) continue;
      this.piece[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
      if (this.filled === this.piece.length) this.handOver();
    }
    this.heard += channel.length;
    if (this.heard > sampleRate / 20) {
      this.port.postMessage({ peak: this.peak });
      this.heard = this.peak = 0;
    }
    return true;
  }
});
