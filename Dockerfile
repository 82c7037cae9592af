# Build: needs the npm registry; the result holds Node, the built files and the production dependencies alone.
FROM node:24-bookworm-slim AS build
WORKDIR /pontoon
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json ./
COPY proto proto
COPY src src
COPY adapters adapters
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /pontoon
COPY --from=build /pontoon/package.json ./
COPY --from=build /pontoon/node_modules node_modules
COPY --from=build /pontoon/dist dist
COPY config config
USER node
EXPOSE 15310 15380
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:15380/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/src/cli/pontoon.js"]
CMD ["run", "--config", "config/pontoon.yaml"]
