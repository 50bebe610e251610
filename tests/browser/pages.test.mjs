// Every page: what axe-core finds, whether anything sticks out of the screen, and a picture to be looked at.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { Site, until } from "./site.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const pictures = process.env.PICTURES ?? "target/browser";

// Those of the README, written anew with REKEYD_WRITE_DOCS=1.
const shown = process.env.REKEYD_WRITE_DOCS ? ["now", "rotation", "keys"] : [];

// The first in the ordinary run, the others in the deep one.
const screens = [
  { name: "360-light", width: 360 },
  { name: "768-light", width: 768 },
  { name: "1440-light", width: 1440 },
  { name: "360-dark", width: 360, look: { colorScheme: "dark" } },
  { name: "1440-dark", width: 1440, look: { colorScheme: "dark" } },
  { name: "360-forced", width: 360, look: { forcedColors: "active" } },
  { name: "1440-forced", width: 1440, look: { forcedColors: "active" } },
];

let site;
before(async () => {
  site = await Site.start();
  await mkdir(pictures, { recursive: true });
});
after(() => site?.stop());

for (const { name, width, look } of process.env.DEEP ? screens : screens.slice(0, 1)) {
  test(`every page at ${name}`, async () => {
    const visitor = await site.visitor({ viewport: { width, height: 640 }, reducedMotion: "reduce", ...look });
    await visitor.go("/");
    const wrong = await wrongOn(visitor, "login", name);
    await visitor.logIn();
    for (const [page, path] of await pagesOf(visitor)) {
      const response = await visitor.go(path);
      assert.equal(response.status(), page === "not-found" ? 404 : 200, path);
      wrong.push(...(await wrongOn(visitor, page, name)));
    }
    assert.deepEqual(wrong, []);
    await visitor.leave();
  });
}

// Name and address of every page that an admin can see.
async function pagesOf(visitor) {
  const first = async (path, pattern) => {
    let found;
    await until(visitor.page, async () => {
      await visitor.go(path);
      const links = await visitor.page.locator("main a").evaluateAll((all) => all.map((a) => new URL(a.href).pathname));
      found = links.find((link) => pattern.test(link));
      return found;
    });
    return found;
  };
  const key = await first("/keys?q=spare", /^\/keys\/[0-9a-f-]{36}$/);
  const alert = await first("/alerts", /^\/alerts\/.+/);
  await visitor.go("/keys/add");
  await visitor.page.getByLabel("Keys").fill("vision-nova not-a-key-of-anybody\nhello");
  await visitor.page.getByRole("button", { name: "Preview" }).click();
  await visitor.page.waitForURL(/\/keys\/add\/.+/);
  const preview = new URL(visitor.page.url()).pathname;
  return [
    ["now", "/"],
    ["alerts", "/alerts"],
    ["alert", alert],
    ["providers", "/providers"],
    ["provider-delete", "/providers/vision-nova/delete"],
    ["keys", "/keys"],
    ["key", key],
    ["key-delete", `${key}/delete`],
    ["preview", preview],
    ["add", "/keys/add"],
    ["rotations", "/rotations"],
    ["rotation", "/rotations/production"],
    ["plan", "/rotations/production/plan"],
    ["leaked", "/rotations/production/leaked"],
    ["runs", "/runs"],
    ["destinations", "/destinations"],
    ["destination", "/destinations/agent-env/check"],
    ["accounts", "/accounts"],
    ["account", "/accounts/main"],
    ["system", "/system"],
    ["audit", "/audit"],
    ["people", "/people"],
    ["me", "/me"],
    ["not-found", "/nothing-here"],
  ];
}

// What is wrong on the page that is shown.
async function wrongOn({ page }, name, screen) {
  await page.screenshot({ path: `${pictures}/${name}-${screen}.png`, fullPage: true });
  if (shown.includes(name) && screen === screens[0].name) await page.screenshot({ path: `docs/pictures/${name}.png` });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(" | ")}`);
  if (wide > 0) found.push(`${wide} pixels stick out`);
  return found.map((what) => `${name}: ${what}`);
}
