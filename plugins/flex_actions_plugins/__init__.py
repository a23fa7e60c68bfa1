"""The plugins that come with flex_actions. They use nothing but its front door, as any plugin may."""
