// A demo of its own, a Chromium, and what must hold of everything that is opened in it: nothing is loaded from elsewhere,
// no rule of the page's own policy is broken, no script fails.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

// As long as anything is waited for: no test depends on how fast the machine is.
export const PATIENCE = 300_000;

const program = process.env.REKEYD_PROGRAM ?? "target/debug/rekeyd";
const browser = process.env.CHROMIUM ?? "/usr/bin/chromium";

// Looks until it is so; on what page, when it never is.
export async function until(page, so) {
  const end = Date.now() + PATIENCE;
  while (!(await so())) {
    assert.ok(Date.now() < end, `it does not come on ${page.url()}:\n${await page.locator("body").innerText()}`);
    await new Promise((later) => setTimeout(later, 1_000));
  }
}

// Starts `rekeyd demo`; answers where its dashboard is and who may log in.
async function startDemo() {
  const demo = spawn(program, ["demo", "--port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
  const said = [];
  const lines = createInterface({ input: demo.stderr });
  const login = await new Promise((found, failed) => {
    lines.on("line", (line) => {
      said.push(line);
      const match = /^the dashboard: (\S+)\s+e-mail (\S+)\s+password (\S+)$/.exec(line);
      if (match) found({ url: match[1], email: match[2], password: match[3] });
    });
    demo.on("exit", () => failed(new Error(`the demo ended:\n${said.join("\n")}`)));
    demo.on("error", failed);
  });
  const stop = async () => {
    demo.removeAllListeners("exit");
    demo.kill("SIGTERM");
    if (demo.exitCode === null && demo.signalCode === null) await once(demo, "exit");
  };
  return { ...login, stop };
}

// A demo and a browser.
export class Site {
  static async start() {
    const demo = await startDemo();
    try {
      const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"];
      return new Site(demo, await chromium.launch({ executablePath: browser, args }));
    } catch (error) {
      await demo.stop();
      throw error;
    }
  }

  constructor(demo, chrome) {
    this.demo = demo;
    this.chrome = chrome;
  }

  async stop() {
    await this.chrome.close();
    await this.demo.stop();
  }

  // Somebody with a browser of their own. `look`: what Playwright calls the options of a context.
  async visitor(look = {}) {
    const context = await this.chrome.newContext({ viewport: { width: 360, height: 640 }, ...look });
    context.setDefaultTimeout(PATIENCE);
    const visitor = new Visitor(this, await context.newPage());
    await visitor.begin();
    return visitor;
  }
}

// Somebody, and what went wrong on their pages.
class Visitor {
  #site;
  #wrong = [];

  constructor(site, page) {
    this.#site = site;
    this.page = page;
  }

  async begin() {
    const { origin } = new URL(this.#site.demo.url);
    this.page.on("request", (request) => {
      const { protocol } = new URL(request.url());
      if (!request.url().startsWith(`${origin}/`) && protocol !== "data:") {
        this.#wrong.push(`asked elsewhere: ${request.url()}`);
      }
    });
    this.page.on("pageerror", (error) => this.#wrong.push(`a script failed: ${error}`));
    this.page.on("console", (message) => {
      if (/Content.Security.Policy/i.test(message.text())) this.#wrong.push(message.text());
    });
  }

  // Goes to a page, which must be small and made of few files. Answers its response.
  async go(path) {
    let requests = 0;
    const count = () => (requests += 1);
    this.page.on("request", count);
    const response = await this.page.goto(this.#site.demo.url + path, { waitUntil: "load" });
    this.page.off("request", count);
    const bytes = (await response.body()).length;
    assert.ok(bytes <= 60 * 1024, `${path}: ${bytes} bytes`);
    assert.ok(requests <= 5, `${path}: ${requests} requests`);
    return response;
  }

  async logIn(path = "/") {
    await this.go(path);
    await this.page.getByLabel("E-mail address").fill(this.#site.demo.email);
    await this.page.getByLabel("Password").fill(this.#site.demo.password);
    await this.page.getByRole("button", { name: "Log in" }).click();
    await this.page.getByRole("button", { name: "Log out" }).waitFor();
  }

  // Nothing on any page went wrong.
  assertClean() {
    assert.deepEqual(this.#wrong, []);
  }

  async leave() {
    this.assertClean();
    await this.page.context().close();
  }
}
