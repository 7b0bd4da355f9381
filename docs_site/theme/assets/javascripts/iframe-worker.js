// Search for a site that is opened from the disk. The theme searches in a web worker, which browsers
// refuse to pages of file: addresses; there the worker's script runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const script = inside.document.createElement("script")
      script.src = address
      this.loaded = new Promise(resolve => { script.onload = resolve })
      script.onerror = () => this.dispatchEvent(new Event("error"))
      inside.document.body.append(script)
      this.frame = frame
    }

    postMessage(data) {
      this.loaded.then(() => {
        this.frame.contentWindow?.dispatchEvent(new MessageEvent("message", { data }))
      })
    }

    terminate() {
      this.frame.remove()
    }
  }
}
