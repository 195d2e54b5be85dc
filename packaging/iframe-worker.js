// The search of the handbook runs in a worker. A browser makes none for a page that it has opened from a folder, so a
// frame that is not seen runs the program there.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = null;
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      addEventListener("message", (event) => {
        if (event.source !== this.inside) return;
        const message = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(message);
        if (this.onmessage) this.onmessage(message);
      });
      const inside = frame.contentDocument;
      inside.open();
      inside.write(
        "<script>postMessage = (data) => parent.postMessage(data, '*');" +
          "importScripts = (...urls) => Promise.all(urls.map((url) => new Promise((loaded) => {" +
          "const script = document.createElement('script'); script.src = url; script.onload = loaded;" +
          "document.head.append(script); })));</script>" +
          `<script src="${url}"></script>`,
      );
      inside.close();
    }
    postMessage(data) {
      if (this.inside.document.readyState === "complete") this.inside.dispatchEvent(new MessageEvent("message", { data }));
      else this.inside.addEventListener("load", () => this.postMessage(data), { once: true });
    }
    terminate() {}
  };
}
