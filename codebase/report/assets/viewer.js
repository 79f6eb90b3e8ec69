"use strict";
// 3D viewer of the page: a small z-buffer rasteriser on a 2D canvas (no WebGL, so it works everywhere and in print).
// Points: mm, x right, y down, z away from the camera. Drag to turn, double-click to reset, arrow keys to turn.

function unpack(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Type(bytes.buffer);
}

class Viewer {
  constructor(figure) {
    this.canvas = figure.querySelector("canvas");
    this.data = JSON.parse(figure.querySelector("script").textContent);
    this.faces = this.data.faces ? unpack(this.data.faces, Uint16Array) : null;
    this.scenes = this.data.scenes.map((s) => ({
      label: s.label,
      truth: s.truth ? unpack(s.truth, Int16Array) : null,
      guess: unpack(s.guess, Int16Array),
      mesh: s.mesh ? unpack(s.mesh, Int16Array) : null,
    }));
    this.current = 0;
    this.reset();
    this.buttons(figure);
    this.listen();
    this.draw();
  }

  reset() {
    this.yaw = 0.5;
    this.pitch = -0.12;
  }

  buttons(figure) {
    const bar = figure.querySelector(".choices");
    this.scenes.forEach((scene, number) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = scene.label;
      button.setAttribute("aria-pressed", number === 0);
      button.addEventListener("click", () => {
        bar.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", b === button));
        this.current = number;
        this.draw();
      });
      bar.append(button);
    });
  }

  listen() {
    let last = null;
    this.canvas.addEventListener("pointerdown", (e) => {
      last = [e.clientX, e.clientY];
      this.canvas.setPointerCapture(e.pointerId);
    });
    this.canvas.addEventListener("pointerup", () => (last = null));
    this.canvas.addEventListener("pointermove", (e) => {
      if (!last) return;
      this.turn((e.clientX - last[0]) * 0.01, (e.clientY - last[1]) * 0.01);
      last = [e.clientX, e.clientY];
    });
    this.canvas.addEventListener("dblclick", () => { this.reset(); this.draw(); });
    this.canvas.addEventListener("keydown", (e) => {
      const step = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[e.key];
      if (step) { e.preventDefault(); this.turn(...step); }
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  turn(yaw, pitch) {
    this.yaw -= yaw;
    this.pitch = Math.max(-1.4, Math.min(1.4, this.pitch - pitch));
    cancelAnimationFrame(this.pending);
    this.pending = requestAnimationFrame(() => this.draw());
  }

  project(points) {
    const cy = Math.cos(this.yaw), sy = Math.sin(this.yaw), cp = Math.cos(this.pitch), sp = Math.sin(this.pitch);
    const half = this.canvas.width / 2, scale = half / 1080, out = new Float32Array(points.length);
    for (let i = 0; i < points.length; i += 3) {
      const x = points[i], y = points[i + 1], z = points[i + 2];
      const turned = -sy * x + cy * z;
      out[i] = half + scale * (cy * x + sy * z);
      out[i + 1] = half + scale * (cp * y - sp * turned);
      out[i + 2] = scale * (sp * y + cp * turned);
    }
    return out;
  }

  draw() {
    const size = Math.round(this.canvas.clientWidth * Math.min(devicePixelRatio || 1, 2)) || 360;
    this.canvas.width = this.canvas.height = size;
    const context = this.canvas.getContext("2d"), scene = this.scenes[this.current];
    const style = getComputedStyle(this.canvas);
    context.clearRect(0, 0, size, size);
    this.floor(context, style);
    if (scene.mesh && this.faces) this.mesh(context, this.project(scene.mesh));
    if (scene.truth) this.skeleton(context, this.project(scene.truth), () => style.getPropertyValue("--truth"), 3.2);
    const colour = (side) => style.getPropertyValue("--" + side);
    this.skeleton(context, this.project(scene.guess), colour, scene.mesh ? 2 : 4);
  }

  floor(context, style) {
    // a square metre grid 950 mm below the root, so that one sees how the view is turned
    context.strokeStyle = style.getPropertyValue("--line");
    context.lineWidth = 1;
    for (let k = -2; k <= 2; k++) {
      for (const ends of [[k * 400, 950, -800, k * 400, 950, 800], [-800, 950, k * 400, 800, 950, k * 400]]) {
        const p = this.project(ends);
        context.beginPath();
        context.moveTo(p[0], p[1]);
        context.lineTo(p[3], p[4]);
        context.stroke();
      }
    }
  }

  skeleton(context, p, colour, width) {
    context.lineCap = "round";
    context.lineWidth = (width * this.canvas.width) / 480;
    const far = (bone) => p[3 * bone[0] + 2] + p[3 * bone[1] + 2];
    for (const bone of [...this.data.bones].sort((a, b) => far(b) - far(a))) {
      context.strokeStyle = colour(bone[2]);
      context.beginPath();
      context.moveTo(p[3 * bone[0]], p[3 * bone[0] + 1]);
      context.lineTo(p[3 * bone[1]], p[3 * bone[1] + 1]);
      context.stroke();
    }
  }

  mesh(context, p) {
    const size = this.canvas.width, image = context.getImageData(0, 0, size, size), pixels = image.data;
    const depth = new Float32Array(size * size).fill(Infinity), normals = this.normals(p);
    for (let f = 0; f < this.faces.length; f += 3) {
      const a = 3 * this.faces[f], b = 3 * this.faces[f + 1], c = 3 * this.faces[f + 2];
      const area = (p[b] - p[a]) * (p[c + 1] - p[a + 1]) - (p[b + 1] - p[a + 1]) * (p[c] - p[a]);
      if (Math.abs(area) < 1e-6) continue;
      const left = Math.max(0, Math.ceil(Math.min(p[a], p[b], p[c]))), right = Math.min(size - 1, Math.max(p[a], p[b], p[c]));
      const top = Math.max(0, Math.ceil(Math.min(p[a + 1], p[b + 1], p[c + 1])));
      const bottom = Math.min(size - 1, Math.max(p[a + 1], p[b + 1], p[c + 1]));
      for (let y = top; y <= bottom; y++) {
        for (let x = left; x <= right; x++) {
          const u = ((p[c] - p[b]) * (y - p[b + 1]) - (p[c + 1] - p[b + 1]) * (x - p[b])) / area;
          const v = ((p[a] - p[c]) * (y - p[c + 1]) - (p[a + 1] - p[c + 1]) * (x - p[c])) / area;
          const w = 1 - u - v;
          if (u < -1e-6 || v < -1e-6 || w < -1e-6) continue;
          const z = u * p[a + 2] + v * p[b + 2] + w * p[c + 2], at = y * size + x;
          if (z >= depth[at]) continue;
          depth[at] = z;
          const nx = u * normals[a] + v * normals[b] + w * normals[c];
          const ny = u * normals[a + 1] + v * normals[b + 1] + w * normals[c + 1];
          const nz = u * normals[a + 2] + v * normals[b + 2] + w * normals[c + 2];
          const shade = this.shade(nx, ny, nz);
          pixels[4 * at] = 176 * shade;
          pixels[4 * at + 1] = 188 * shade;
          pixels[4 * at + 2] = 205 * shade;
          pixels[4 * at + 3] = 255;
        }
      }
    }
    context.putImageData(image, 0, 0);
  }

  shade(nx, ny, nz) {
    const length = Math.hypot(nx, ny, nz) || 1;
    // light from the upper left, behind the viewer; the sky fills the shadows
    const key = Math.max(0, (-0.4 * nx - 0.6 * ny - 0.69 * nz) / length);
    return Math.min(1.22, 0.38 + 0.12 * (-ny / length) + 0.75 * key);
  }

  normals(p) {
    const out = new Float32Array(p.length);
    for (let f = 0; f < this.faces.length; f += 3) {
      const a = 3 * this.faces[f], b = 3 * this.faces[f + 1], c = 3 * this.faces[f + 2];
      const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
      const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
      const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
      for (const at of [a, b, c]) for (let k = 0; k < 3; k++) out[at + k] += n[k];
    }
    return out;
  }
}

document.querySelectorAll("figure.viewer").forEach((figure) => new Viewer(figure));
