"""Start LoRA Studio: on this machine, with a share link, or as it is on a Hugging Face Space."""

from __future__ import annotations

import gc
import os

gc.disable()  # nothing of thousands of modules is garbage, and looking for it takes a tenth of the start
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read by the libraries while they are imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

if __name__ == "__main__":  # trainings are threads of this process; it would be late after the imports
    from lora_studio.runtime import begin_in_cpu_environment

    begin_in_cpu_environment()

import sys
from collections.abc import Sequence

from lora_studio.cli.console.terminal import steady_output
from lora_studio.errors import StudioError
from lora_studio.settings import keep_private
from lora_studio.studio import open_studio
from lora_studio.ui.serving import server
from lora_studio.ui.serving.start_options import parse_options

gc.freeze()  # from later collections
gc.enable()


@steady_output()
def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl+C or SIGTERM. Exit codes: 0 done, 2 something the user can put right."""
    options, ended = parse_options(argv), server.end_asked()
    try:
        keep_private()
        studio = open_studio()
        host = options.host or ("0.0.0.0" if studio.settings.on_space else "127.0.0.1")
        access = server.access_of(studio, options, host)
        port = server.free_port(host, options.port)
        page = server.open_page(studio, host=host, port=port, access=access, share=options.share)
    except StudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    opened = f"LoRA Studio is open at {page.share_address or page.address}"
    print("\n".join(filter(None, (opened, access.words))), flush=True)
    server.wait_for_end(ended)
    print("Closing; a running training keeps what it has learned.", flush=True)
    page.close()
    studio.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
