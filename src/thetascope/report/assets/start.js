"use strict";
(() => {
  const report = window.thetascope;
  report.startPictures();
  report.startControls();
  report.startDownloads();
  report.startTables();
  report.startPrinting();

  // On a narrow screen the contents are folded; the chapter that is read is marked.
  const contents = document.querySelector(".contents details");
  if (matchMedia("(max-width: 64rem)").matches) contents.open = false;
  const links = new Map([...contents.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
  const reading = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          links.forEach((link) => link.removeAttribute("aria-current"));
          links.get(entry.target.id)?.setAttribute("aria-current", "location");
        }
      }
    },
    { rootMargin: "-20% 0px -70% 0px" },
  );
  for (const section of document.querySelectorAll("main > section")) reading.observe(section);
})();
